"""Slots: bounded, fair between owners, and never lost (ABUSE "Requests")."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from orchestrator.contracts.errors import TooMany
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox.slots import Slots


@pytest.fixture
async def supervisor():
    made = Supervisor()
    yield made
    await made.close()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_owners_take_turns(supervisor):
    """One owner's five jobs do not hold up another's one."""
    slots, order = Slots(1, 100, 100), []

    async def work(owner: str) -> None:
        async with slots.hold(owner):
            order.append(owner)

    async with slots.hold("first"):
        for owner in ["a"] * 5 + ["b"] * 2 + ["c"]:
            supervisor.child(owner, work(owner))
            await settle()
        assert slots.waiting == 8
    await settle()
    assert order == ["a", "b", "c", "a", "b", "a", "a", "a"]
    assert (slots.running, slots.waiting) == (0, 0)


async def test_a_full_queue_says_when_to_come_again(supervisor):
    """CONTRACT 1: 429 `queue_full` with `Retry-After`; one owner's bound leaves room for others."""
    slots = Slots(1, 3, 2)

    async def work(owner: str) -> None:
        async with slots.hold(owner):
            pass

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(slots.hold("a"))
        for owner in ("a", "a", "b"):
            supervisor.child(owner, work(owner))
            await settle()
        for owner, whose in (("a", "of one identity"), ("c", "wait already")):
            with pytest.raises(TooMany, match=whose) as caught:
                await work(owner)
            assert (caught.value.code, int(caught.value.headers["Retry-After"]) >= 1) == ("queue_full", True)
    await settle()
    assert (slots.running, slots.waiting) == (0, 0)


async def test_what_waits_along_is_bounded_too(supervisor):
    """Few large requests fill the queue as many small ones do; one that need not wait is never too large."""
    slots = Slots(1, 100, 100, queue_bytes=1_000)

    async def work(weight: int) -> None:
        async with slots.hold("a", weight):
            pass

    async with slots.hold("first", 5_000):
        supervisor.child("a", work(900))
        await settle()
        with pytest.raises(TooMany):
            await work(101)
        supervisor.child("a", work(100))
        await settle()
    await settle()
    assert (slots.running, slots.waiting) == (0, 0)


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_who_leaves_the_queue_loses_nobodys_turn(supervisor, leaver):
    slots, order = Slots(1, 100, 100), []

    async def work(name: int) -> None:
        async with slots.hold(f"owner {name % 2}"):
            order.append(name)

    async with slots.hold("first"):
        tasks = [supervisor.child(str(name), work(name)) for name in range(3)]
        await settle()
        tasks[leaver].cancel()
    await settle()
    assert sorted(order) == [name for name in range(3) if name != leaver]
    assert (slots.running, slots.waiting) == (0, 0)


async def test_a_turn_that_comes_as_its_owner_leaves_goes_on(supervisor):
    slots = Slots(1, 100, 100)

    async def work() -> None:
        async with slots.hold("a"):
            await asyncio.Event().wait()

    async with slots.hold("first"):
        task = supervisor.child("a", work())
        await settle()
    task.cancel()
    await settle()
    assert (slots.running, slots.waiting) == (0, 0)
