"""Keys have quotas: what one may cost by the hour, day or month (CONTRACT 5)."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from orchestrator.contracts.callers import Caller
from orchestrator.contracts.costs import Quota
from orchestrator.governance import quotas
from orchestrator.storage.schema import budgets
from orchestrator.testing.daemons import Client, Running
from tests.integration.authority_rig import Person, opened, operator_of


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    async with opened(tmp_path) as found:
        yield found


async def holder(daemon: Running, *scopes: str, **quota: object) -> Client:
    made = await daemon.admin.post("/v1/keys", json={"name": "k", "scopes": scopes, "quota": quota})
    assert made.status == 201, made.body
    return daemon.admin.with_key(made.json["key"])


async def test_past_its_quota_a_key_is_told_so_and_when_it_is_whole_again(daemon: Running) -> None:
    """422, since CONTRACT 5 calls it a budget; 429 stands for what is asked too fast."""
    client = await holder(daemon, "query", tokens=2)
    for _ in range(2):
        assert (await client.post("/query", json={"text": "shout x"})).status == 200
    refused = await client.post("/query", json={"text": "shout x"})
    assert (refused.status, refused.json["code"]) == (422, "budget_exceeded")
    assert refused.json["detail"] == "the budget of the key does not allow it: 1 tokens wanted and 0 left"
    assert refused.json["resets_at"].endswith("T00:00:00.000Z")
    assert (await client.post("/query", json={"text": "shout x", "dry_run": True})).status == 200
    assert (await client.get("/v1/me")).status == 200
    assert (await daemon.admin.post("/query", json={"text": "shout x"})).status == 200


async def test_what_never_reached_a_plugin_costs_nothing(daemon: Running) -> None:
    client = await holder(daemon, "query", tokens=1)
    for _ in range(3):
        assert (await client.post("/query", json={"text": "nobody can"})).json["code"] == "no_route"
    assert (await client.post("/query", json={"text": "shout x"})).status == 200


async def test_code_takes_the_most_that_it_can_cost_and_gives_back_what_it_did_not(daemon: Running) -> None:
    client = await holder(daemon, "execute", usd="0.0001")
    refused = await client.post("/v1/sandbox/executions", json={"code": "1"})
    assert (refused.status, refused.json["code"]) == (422, "budget_exceeded")
    small = {"code": "1", "limits": {"cpu_ms": 100, "wall_ms": 100}}
    for _ in range(100):  # no engine here: nothing starts, and nothing is kept of what was taken
        assert (await client.post("/v1/sandbox/executions", json=small)).json["code"] == "sandbox_unavailable"


async def test_sixty_four_at_once_do_not_pass_it(daemon: Running) -> None:
    client = await holder(daemon, "query", tokens=10)
    answers = await asyncio.gather(*(client.post("/query", json={"text": "shout x"}) for _ in range(64)))
    assert sorted({answer.status for answer in answers}) == [200, 422]
    assert sum(answer.status == 200 for answer in answers) == 10


async def test_commands_reserve_from_the_quota_of_the_key_that_plans_them(daemon: Running) -> None:
    operator = await operator_of(daemon)
    client = await holder(daemon, "command", "approve", tokens=1)
    person = Person(client, operator.identity, operator.context)
    path, planned = await person.planned("shout hello")
    assert planned.status == 201
    other, refused = await person.planned("shout hello")
    assert (refused.status, refused.json["code"]) == (422, "budget_exceeded")
    await person.ask("POST", f"{path}/reject", {})
    assert (await person.ask("POST", f"{other}/plan")).status == 201


@pytest.mark.parametrize("quota", [
    {}, {"per": "day"}, {"tokens": -1}, {"usd": "NaN"}, {"tokens": 1, "per": "week"}, {"tokens": 1, "eur": 1}, 5,
])  # fmt: skip
async def test_what_is_no_quota_is_refused(daemon: Running, quota: object) -> None:
    refused = await daemon.admin.post("/v1/keys", json={"name": "k", "scopes": ["query"], "quota": quota})
    assert (refused.status, refused.json["code"]) == (422, "invalid")


async def test_what_a_dead_daemon_had_taken_is_given_back_and_what_was_spent_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as daemon:
        client = await holder(daemon, "query", tokens=2)
        key = client.key
        await client.post("/query", json={"text": "shout x"})
        store, b = daemon.daemon.rooms.store, budgets.c
        (row,) = await store.write(lambda tx: tx.execute(select(budgets)).mappings().all())
        assert (row["reserved_tokens"], row["spent_tokens"], row["reserved_micros"]) == (0, 1, 0)
        taken = budgets.update().where(b.scope == row["scope"]).values(reserved_tokens=1, reserved_micros=7)
        await store.write(lambda tx: tx.execute(taken) and None)
        assert (await client.post("/query", json={"text": "shout x"})).status == 422
        earlier = {**row, "scope": row["scope"][:-10] + "2020-01-01"}
        await store.write(lambda tx: tx.execute(insert(budgets), earlier) and None)
    async with opened(tmp_path) as daemon:
        client = daemon.admin.with_key(key)
        assert [(await client.post("/query", json={"text": "shout x"})).status for _ in range(2)] == [200, 422]


@pytest.mark.parametrize(("per", "window", "ends"), [
    ("hour", "2026-12-31T23", "2027-01-01T00:00:00.000Z"), ("day", "2026-12-31", "2027-01-01T00:00:00.000Z"),
    ("month", "2026-12", "2027-01-01T00:00:00.000Z"),
])  # fmt: skip
def test_a_quota_is_that_of_the_stores_hour_day_or_month(per, window: str, ends: str) -> None:
    quota = Quota(usd=Decimal(1), per=per)
    caller = Caller("i", "person", frozenset(), key_id="k", quota=quota)
    now = "2026-12-31T23:59:59.999Z"
    assert list(quotas.bounds_of(caller, now)) == [f"key:k:{window}"]
    assert quotas.ends_at(quota, now) == ends
