"""Fresh workers of one class: who waits gets the next that is ready, and nothing is made that nobody needs."""

import asyncio

import pytest

from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.stock import Stock

KIND = WorkerClass("image", "default", 1, 64, 1, 1)


class Worker:
    """As much of a worker as one that waits is."""

    def __init__(self) -> None:
        self.id, self.kind, self.jobs, self.alive = "w", KIND, 0, True


def begun(stock: Stock, number: int) -> Stock:
    for _ in range(number):
        stock.making()
    return stock


async def test_what_is_ready_goes_to_who_has_waited_longest_and_only_then_is_armed():
    stock, first, second, third = begun(Stock(), 3), Worker(), Worker(), Worker()
    waiters = [stock.join(), stock.join()]
    assert [stock.made(worker, now) for now, worker in enumerate((first, second, third))] == [False, False, True]
    assert [waiter.result() for waiter in waiters] == [first, second]
    assert (stock.armed, stock.take(), stock.take(), stock.empty) == (1, (2, third), None, True)


async def test_as_many_are_missing_as_are_wanted_once_all_who_wait_have_theirs():
    stock = Stock()
    assert (stock.missing(0), stock.missing(2), stock.empty) == (0, 2, True)
    stock.join()
    assert stock.missing(2) == 3
    begun(stock, 2)
    assert (stock.missing(2), stock.missing(0), stock.empty) == (1, 0, False)


async def test_what_is_too_much_goes_oldest_first():
    stock, workers = begun(Stock(), 3), [Worker(), Worker(), Worker()]
    for now, worker in enumerate(workers):
        stock.made(worker, now)
    assert (stock.surplus(2), stock.surplus(5), stock.surplus(0)) == (workers[:1], [], workers[1:])


async def test_one_who_left_gets_nothing_and_holds_nobody_up():
    stock, worker = begun(Stock(), 1), Worker()
    left, waits = stock.join(), stock.join()
    left.cancel()
    assert not stock.made(worker, 0)
    assert (waits.result(), stock.leave(left)) == (worker, None)


async def test_a_worker_that_came_as_its_waiter_left_is_handed_back():
    stock, worker = begun(Stock(), 1), Worker()
    waiter = stock.join()
    stock.made(worker, 0)
    assert (stock.leave(waiter), stock.empty) == (worker, True)


async def test_a_failure_is_told_to_one_who_waits_unless_there_is_still_one_for_each():
    stock, fault = begun(Stock(), 2), Unavailable("the engine is gone")
    waiter = stock.join()
    stock.failed(fault)
    assert not waiter.done()
    stock.failed(fault)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(waiter, 1)
    assert (stock.leave(waiter), stock.empty) == (None, True)


async def test_the_dead_are_not_counted_as_armed():
    stock, worker = begun(Stock(), 1), Worker()
    stock.made(worker, 0)
    worker.alive = False
    assert (stock.armed, stock.take()) == (0, (0, worker))
