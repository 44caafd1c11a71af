"""Slots: bounded, fair between owners, and never lost (ABUSE "Requests")."""

import dataclasses

import pytest

from orchestrator.contracts.errors import TooMany
from orchestrator.sandbox.slots import Capacity, Slots, Turn

ONE = Capacity(jobs=1, memory_bytes=1_000, queue=100, queue_per_owner=100, queue_bytes=10**9)


def slots_of(**fields: int) -> Slots:
    return Slots(dataclasses.replace(ONE, **fields))


def come(turns: list[Turn]) -> list[str]:
    """Whose turn it is, in the order in which they joined."""
    return [turn.owner for turn in turns if turn.come.done()]


async def order(slots: Slots, turns: list[Turn]) -> list[str]:
    """In which order turns come, if each is given back as soon as it has come."""
    found, left = [], list(turns)
    while left:
        turn = next(turn for turn in left if turn.come.done())
        left.remove(turn)
        found.append(turn.owner)
        turn.leave()
    assert (slots.running, slots.waiting) == (0, 0)
    return found


async def test_owners_take_turns():
    """One owner's five jobs do not hold up another's one."""
    slots = slots_of()
    first = slots.join("first")
    turns = [slots.join(owner) for owner in ["a"] * 5 + ["b"] * 2 + ["c"]]
    assert (slots.running, slots.waiting) == (1, 8)
    first.leave()
    assert await order(slots, turns) == ["a", "b", "c", "a", "b", "a", "a", "a"]


async def test_a_full_queue_says_when_to_come_again():
    """CONTRACT 1: 429 `queue_full` with `Retry-After`; one owner's bound leaves room for others."""
    slots = slots_of(queue=3, queue_per_owner=2)
    for owner in ("a", "a", "a", "b"):
        slots.join(owner)
    for owner, whose in (("a", "of one key"), ("c", "wait already")):
        with pytest.raises(TooMany, match=whose) as caught:
            slots.join(owner)
        assert (caught.value.code, int(caught.value.headers["Retry-After"]) >= 1) == ("queue_full", True)
    assert slots.waiting == 3


async def test_what_waits_along_is_bounded_too():
    """Few large requests fill the queue as many small ones do; one that need not wait is never too large."""
    slots = slots_of(queue_bytes=1_000)
    slots.join("first", 5_000)
    slots.join("a", 900)
    with pytest.raises(TooMany):
        slots.join("a", 101)
    slots.join("a", 100)
    assert (slots.running, slots.waiting) == (1, 2)


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_who_leaves_the_queue_loses_nobodys_turn(leaver):
    slots = slots_of()
    first = slots.join("first")
    turns = [slots.join(f"owner {name}") for name in range(3)]
    gone = turns.pop(leaver)
    gone.leave()
    first.leave()
    assert await order(slots, turns) == [turn.owner for turn in turns]
    assert not gone.come.done()


async def test_memory_is_shared_and_nobody_is_overtaken_for_being_large():
    slots = slots_of(jobs=10)
    small, large, late = (
        slots.join("a", memory_bytes=600),
        slots.join("b", memory_bytes=500),
        slots.join("c", memory_bytes=1),
    )
    assert come([small, large, late]) == ["a"]
    small.leave()
    assert come([large, late]) == ["b", "c"]


async def test_what_is_larger_than_all_memory_runs_alone():
    slots = slots_of(jobs=10)
    giant, other = slots.join("a", memory_bytes=5_000), slots.join("b", memory_bytes=1)
    assert come([giant, other]) == ["a"]
    giant.leave()
    assert come([other]) == ["b"]


async def test_a_batch_waits_for_everybody_and_leaves_one_slot_free():
    """A population run never starves a query."""
    slots = slots_of(jobs=2)
    batch = [slots.join("run", priority="batch") for _ in range(3)]
    query = slots.join("person")
    assert (come(batch), come([query])) == (["run"], ["person"])
    waiting = slots.join("person")
    query.leave()
    assert (come(batch), come([waiting])) == (["run"], ["person"])
    waiting.leave()
    batch[0].leave()
    assert batch[1].come.done()
