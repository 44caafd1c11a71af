"""Rates and tallies: pure over a clock that is passed in (CONTRACT 1)."""

import pytest

from orchestrator.api import peers
from orchestrator.api.rates import KeyRates, RefusalTally, WrongKeys


def test_a_key_may_burst_one_second_and_then_waits() -> None:
    rates = KeyRates(50)
    assert [rates.take("k", 0.0)[1] for _ in range(50)] == [0.0] * 50
    left, wait = rates.take("k", 0.0)
    assert left == 0
    assert wait == pytest.approx(0.02)
    assert rates.take("k", 0.02)[1] == 0.0
    assert rates.take("other", 0.0)[1] == 0.0


def test_ten_wrong_keys_a_minute_and_then_a_wait() -> None:
    wrong = WrongKeys(10)
    assert [wrong.add("peer", float(n)) for n in range(10)] == [0.0] * 10
    assert wrong.add("peer", 10.0) == pytest.approx(50.0)
    assert wrong.add("peer", 60.5) == 0.0
    assert wrong.add("another", 10.0) == 0.0


def test_refusals_are_tallied_by_peer_and_minute() -> None:
    tally = RefusalTally()
    for minute in (1, 1, 2):
        tally.add("p", "key_required", minute)
    tally.add("p", "host_denied", 1)
    assert tally.take(before_minute=2) == [("p", 1, {"key_required": 2, "host_denied": 1})]
    assert tally.take() == [("p", 2, {"key_required": 1})]
    assert tally.take() == []


def test_a_flood_from_many_peers_stays_bounded() -> None:
    tally, wrong, rates = RefusalTally(), WrongKeys(10), KeyRates(1)
    for n in range(20_000):
        tally.add(str(n), "key_required", 1)
        wrong.add(str(n), 0.0)
        rates.take(str(n), 0.0)
    assert len(tally._counts) <= 10_001
    assert len(wrong._seen) <= 10_000
    assert len(rates._buckets) <= 10_000


@pytest.mark.parametrize(
    ("peer", "headers", "local"),
    [
        ("127.0.0.1", {}, True), ("127.8.9.1", {}, True), ("::1", {}, True), ("::ffff:127.0.0.1", {}, True),
        ("10.0.0.1", {}, False), ("", {}, False), ("127.0.0.1", {"X-Forwarded-For": "1.2.3.4"}, False),
        ("127.0.0.1", {"Forwarded": "for=1.2.3.4"}, False), ("127.0.0.1", {"X-Real-IP": "127.0.0.1"}, False),
    ],
)  # fmt: skip
def test_only_a_direct_local_peer_is_loopback(peer: str, headers: dict[str, str], local: bool) -> None:
    """CONTRACT 1: forwarded is never loopback."""
    assert peers.is_loopback(peer, headers) is local


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True), ("localhost:8000", True), ("127.0.0.1:1", True), ("[::1]:8000", True), ("LOCALHOST", True),
        ("localhost.", True), ("ops.example", True), ("ops.example:443", True), ("evil.example", False), ("", False),
        ("127.0.0.1.evil.example", False), ("localhost@evil.example", False), ("[::1", True), ("0.0.0.0", False),
    ],
)  # fmt: skip
def test_a_host_header_must_name_this_daemon(host: str, allowed: bool) -> None:
    assert peers.host_allowed(host, ["ops.example"], "0.0.0.0") is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://127.0.0.1:8000", True),
        ("https://ops.example", True),
        ("null", False),
        ("http://evil.example", False),
        ("", False),
    ],
)
def test_an_origin_is_ours_or_named(origin: str, allowed: bool) -> None:
    assert peers.origin_allowed(origin, "127.0.0.1:8000", ["https://ops.example"]) is allowed


def test_networks_are_matched_and_rubbish_is_in_none() -> None:
    assert peers.in_networks("10.1.2.3", ["10.0.0.0/8"])
    assert not peers.in_networks("11.1.2.3", ["10.0.0.0/8"])
    assert not peers.in_networks("rubbish", ["10.0.0.0/8"])
