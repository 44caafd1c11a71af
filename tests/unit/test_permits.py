"""Permits: made by the governor alone, for one thing, once (R4-08, X-01)."""

from dataclasses import replace

import pytest

from orchestrator.contracts.callers import LOOPBACK, Caller
from orchestrator.contracts.errors import Forbidden
from orchestrator.contracts.permits import Permit
from orchestrator.governance.permits import PermitOffice
from orchestrator.kernel.clock import FakeClock

CALLER = Caller(owner=LOOPBACK, kind="loopback", scopes=frozenset())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def office(clock: FakeClock) -> PermitOffice:
    return PermitOffice(clock, ttl_s=60)


def issued(office: PermitOffice) -> Permit:
    return office.issue("sandbox.execute", "job-1", CALLER, "grant", "grant-1", "person-1")


def test_a_genuine_permit_is_good_exactly_once(office: PermitOffice) -> None:
    permit = issued(office)
    office.check(permit, "sandbox.execute", "job-1")
    with pytest.raises(Forbidden, match="has been used"):
        office.check(permit, "sandbox.execute", "job-1")


def test_it_is_good_for_nothing_else(office: PermitOffice) -> None:
    permit = issued(office)
    with pytest.raises(Forbidden, match="another subject"):
        office.check(permit, "sandbox.execute", "job-2")
    with pytest.raises(Forbidden, match=r"it is for sandbox\.execute"):
        office.check(permit, "plugin:x@1", "job-1")


@pytest.mark.parametrize(
    "change", [{"subject": "job-2"}, {"approved_by": "me"}, {"expires_at": 1e12}, {"seal": b"x" * 32}, {"owner": "o"}]
)
def test_a_changed_one_is_not_genuine(office: PermitOffice, change: dict[str, object]) -> None:
    forged = replace(issued(office), **change)
    with pytest.raises(Forbidden, match="did not issue"):
        office.check(forged, forged.capability, forged.subject)


def test_another_office_did_not_issue_it(office: PermitOffice, clock: FakeClock) -> None:
    with pytest.raises(Forbidden, match="did not issue"):
        PermitOffice(clock, 60).check(issued(office), "sandbox.execute", "job-1")


def test_it_expires(office: PermitOffice, clock: FakeClock) -> None:
    permit = issued(office)
    clock.advance(61)
    with pytest.raises(Forbidden, match="expired"):
        office.check(permit, "sandbox.execute", "job-1")


def test_permits_that_nobody_uses_are_forgotten(office: PermitOffice, clock: FakeClock) -> None:
    for _ in range(1000):
        issued(office)
    clock.advance(61)
    issued(office)
    assert len(office._open) == 1
