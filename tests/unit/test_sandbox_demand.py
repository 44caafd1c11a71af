"""How many fresh workers are kept ready follows what was asked for lately (DESIGN 4)."""

import pytest

from orchestrator.sandbox.demand import POPULAR, WINDOW_S, Demand
from orchestrator.sandbox.jobs import WorkerClass

USUAL, LARGE, OTHER = (WorkerClass("image", "default", memory, 64, 1, 1) for memory in (1, 2, 3))


def take(demand: Demand, kind: WorkerClass, *times: float) -> None:
    for now in times:
        demand.took(kind, now)


def test_without_demand_the_least_of_the_usual_class_is_wanted():
    assert Demand(2, 8).wanted(USUAL, 0) == {USUAL: 2}


def test_a_burst_is_ready_for_its_like_until_the_window_has_passed():
    demand = Demand(2, 8)
    take(demand, USUAL, *[100.0] * 5)
    assert demand.wanted(USUAL, 100) == {USUAL: 5}
    assert demand.wanted(USUAL, 100 + WINDOW_S - 1) == {USUAL: 5}
    assert demand.wanted(USUAL, 101 + WINDOW_S) == {USUAL: 2}


def test_many_one_after_another_need_no_more_than_one_refill_lets_pass():
    demand = Demand(1, 8)
    take(demand, USUAL, *range(30))
    assert demand.wanted(USUAL, 30) == {USUAL: 1}


def test_the_longer_a_replacement_takes_the_more_are_wanted():
    demand = Demand(1, 8)
    for _ in range(50):
        demand.replaced(2.0)
    take(demand, USUAL, *range(30))
    assert demand.wanted(USUAL, 30) == {USUAL: 2}
    take(demand, USUAL, *[30 + n / 4 for n in range(8)])
    assert demand.wanted(USUAL, 32) == {USUAL: 8}


def test_never_more_than_the_most_in_all():
    demand = Demand(2, 4)
    take(demand, USUAL, *[0.0] * 50)
    take(demand, LARGE, *[0.0] * 50)
    assert demand.wanted(USUAL, 0) == {USUAL: 4}
    assert sum(Demand(2, 0).wanted(USUAL, 0).values()) == 2


def test_an_unusual_class_is_kept_ready_once_it_is_popular_and_the_most_popular_first():
    demand = Demand(2, 4)
    take(demand, LARGE, *range(POPULAR - 1))
    assert LARGE not in demand.wanted(USUAL, 10)
    take(demand, LARGE, 10)
    take(demand, OTHER, *range(10, 30, 2))
    assert demand.wanted(USUAL, 30) == {USUAL: 2, OTHER: 1, LARGE: 1}
    take(demand, OTHER, 30, 30)
    assert demand.wanted(USUAL, 30) == {USUAL: 2, OTHER: 2}


@pytest.mark.parametrize("forget", ["clear", "window"])
def test_what_nobody_asks_for_any_more_is_forgotten(forget):
    demand = Demand(0, 4)
    take(demand, LARGE, *[0.0] * POPULAR)
    if forget == "clear":
        demand.clear()
    assert demand.wanted(USUAL, 0 if forget == "clear" else WINDOW_S + 1) == {USUAL: 0}
