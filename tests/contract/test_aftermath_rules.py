"""What comes after a step, on each backend: versions of outputs, effects, incidents, places in the log."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from orchestrator.governance import incidents, webhooks
from orchestrator.governance.commands import effects, outputs
from orchestrator.governance.commands.bases import Basis
from orchestrator.storage import schema
from orchestrator.storage.port import Store, Tx

T0, T1 = "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z"
ROW: Any = {"id": "a", "plan_version": 1}
APPROVAL = Basis("approval", "ap", "p")


def step(kind: str, at: int = 0) -> Any:
    capability = SimpleNamespace(tool="t", permit_for="plugin:t@d")
    return SimpleNamespace(index=at, step=SimpleNamespace(id=f"s{at}"), effects=kind, capability=capability)


@pytest.fixture(autouse=True)
async def filled(store: Store) -> None:
    row = {
        "id": "a", "identity_id": "i", "context_id": "c", "sphere": "personal", "intent": "do", "status": "completed",
        "estimated_cost": {}, "created_at": T0, "asked": {}, "approval_mode": "plan", "plan_version": 1,
        "updated_at": T0,
    }  # fmt: skip
    await store.write(lambda tx: tx.execute(insert(schema.commands), row) and None)


def propose(tx: Tx, kind: str = "pure", at: int = 0) -> Any:
    outputs.propose(tx, ROW, step(kind, at), {"ref": "r"}, T0)
    return outputs.of_step(tx, "a", at)[-1]


async def states(store: Store, at: int = 0) -> list[str]:
    return [row["state"] for row in await store.read(lambda tx: outputs.of_step(tx, "a", at))]


async def effect(store: Store, effect_id: str) -> str:
    c = schema.effects.c
    found = await store.read(lambda tx: tx.execute(select(c.state).where(c.id == effect_id)).scalar_one())
    return str(found)


class TestOutputs:
    """R4-50."""

    async def test_versions_are_added_and_one_is_in_force(self, store: Store) -> None:
        def work(tx: Tx) -> None:
            first = propose(tx)
            outputs.decide(tx, first, "active", "p", T1)
            second = propose(tx)
            outputs.decide(tx, second, "active", "p", T1)
            one, two = outputs.of_step(tx, "a", 0)
            assert outputs.roll_back(tx, two, one, "p", T1, None) == 3

        await store.write(work)
        assert await states(store) == ["superseded", "superseded", "active"]

    @pytest.mark.parametrize(("keep", "left"), [((), ["rejected", "rejected"]), (("s1",), ["rejected", "proposed"])])
    async def test_what_is_abandoned_is_what_was_proposed_and_is_not_kept(self, store, keep, left) -> None:
        def work(tx: Tx) -> None:
            outputs.decide(tx, propose(tx, at=2), "active", "p", T1)
            propose(tx, at=0)
            propose(tx, at=1)
            outputs.abandon(tx, "a", keep, "rejected", T1)

        await store.write(work)
        assert [*await states(store, 0), *await states(store, 1)] == left
        assert await states(store, 2) == ["active"]


class TestEffects:
    """X-12."""

    @pytest.mark.parametrize(
        ("kind", "act", "state"),
        [
            ("compensated", "accept", "kept"), ("compensated", "refuse", "due"), ("deferred", "accept", "due"),
            ("deferred", "refuse", "cancelled"),
        ],
    )  # fmt: skip
    async def test_a_decision_says_what_becomes_of_an_effect_once(self, store, kind, act, state) -> None:
        def work(tx: Tx) -> str:
            made = effects.hold(tx, ROW, APPROVAL, step(kind), "req", T0)
            assert effects.hold(tx, ROW, APPROVAL, step(kind), "req", T0) == made  # the next attempt is the same effect
            effects.answered(tx, ROW, 0, "out")
            output = propose(tx, kind)
            for _ in range(2):
                getattr(effects, act)(tx, output, T1)
            return made

        assert await effect(store, await store.write(work)) == state

    async def test_what_was_kept_is_undone_when_it_is_gone_back_from_and_what_was_released_stays(self, store) -> None:
        def work(tx: Tx) -> tuple[str, str]:
            undone, stays = (effects.hold(tx, ROW, APPROVAL, step(kind, at), "req", T0)
                             for at, kind in enumerate(effects.KINDS))  # fmt: skip
            for at, kind in enumerate(effects.KINDS):
                output = propose(tx, kind, at)
                effects.accept(tx, output, T1)
                if kind == "deferred":
                    tx.execute(update(schema.effects).where(schema.effects.c.kind == kind).values(state="done"))
                effects.refuse(tx, output, T1)
            return undone, stays

        undone, stays = await store.write(work)
        assert (await effect(store, undone), await effect(store, stays)) == ("due", "done")

    @pytest.mark.parametrize(("keep", "state"), [((), "due"), ((0,), "held")])
    async def test_what_a_command_has_done_is_undone_with_it_but_for_steps_that_are_kept(self, store, keep, state):
        def work(tx: Tx) -> str:
            made = effects.hold(tx, ROW, APPROVAL, step("compensated"), "req", T0)
            effects.abandon(tx, "a", keep, T1)
            effects.wait_for(tx, "a", (0,), T1)
            assert effects.pending(tx, "a") is (state == "due")
            return made

        assert await effect(store, await store.write(work)) == state


class TestIncidents:
    """R4-33."""

    @pytest.mark.parametrize("subject", ["a", None])
    async def test_many_of_one_kind_and_subject_at_once_are_one_that_is_counted(self, store, subject) -> None:
        told = await asyncio.gather(
            *(store.write(lambda tx: incidents.opened(tx, "k", subject, "why", T0)) for _ in range(32))
        )
        topics = [entry.topic for entry in told]
        assert (topics.count("incident.opened"), topics.count("incident.repeated")) == (1, 31)
        c = schema.incidents.c
        rows = await store.read(lambda tx: tx.execute(select(c.times, c.open)).all())
        assert [tuple(row) for row in rows] == [(32, True)]


class TestWebhooks:
    """CONTRACT 5."""

    async def test_a_place_in_the_log_only_moves_forward(self, store: Store) -> None:
        row = {
            "id": "w", "url": "http://x", "topics": [">"], "secret": "s", "created_at": T0, "created_by": "p",
            "cursor": 5, "delivered": 0, "attempts": 2, "next_at": T1, "fault": "f",
        }  # fmt: skip
        await store.write(lambda tx: tx.execute(insert(schema.webhooks), row) and None)
        for seq, moved in ((7, True), (6, False), (7, True)):
            assert await store.write(lambda tx, seq=seq: webhooks.settle(tx, "w", seq, attempts=0)) is moved
        assert await store.write(lambda tx: webhooks.settle(tx, "nobody", 9)) is False
