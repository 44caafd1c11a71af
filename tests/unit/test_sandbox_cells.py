"""Cells at rest serve only whom they served before, and not for ever (CONTRACT 4 `cell`)."""

from orchestrator.sandbox.cells import Cells, Domain
from orchestrator.sandbox.jobs import WorkerClass

SMALL, LARGE = (WorkerClass("image", "default", memory, 64, 1, 1) for memory in (1, 2))
MINE, SUBJECT, KEY = Domain("me", "key", None), Domain("me", "key", "a stranger"), Domain("me", "other key", None)


class Worker:
    """As much of a worker as a cell at rest is."""

    def __init__(self, kind: WorkerClass = SMALL, jobs: int = 1) -> None:
        self.id, self.kind, self.jobs, self.alive, self.wiped = "w", kind, jobs, True, 0

    def wipe(self, *, keep_program: bool = False) -> None:
        self.wiped += not keep_program


def test_a_cell_serves_one_key_one_subject_and_one_class():
    cells, worker = Cells(2, 60, 100), Worker()
    assert cells.give(worker, MINE, 0) == []
    for domain, kind in ((SUBJECT, SMALL), (KEY, SMALL), (Domain("you", "key", None), SMALL), (MINE, LARGE)):
        assert cells.take(domain, kind) is None
    assert (cells.take(MINE, SMALL), worker.wiped, len(cells)) == (worker, 1, 0)


def test_the_cell_that_rested_longest_comes_first_and_goes_first():
    cells, workers = Cells(2, 60, 100), [Worker(), Worker(), Worker()]
    assert [cells.give(worker, MINE, now) for now, worker in enumerate(workers)] == [[], [], [workers[0]]]
    assert cells.take(MINE, SMALL) is workers[1]


def test_used_up_dead_and_old_cells_go():
    cells, old, young, used, dead = Cells(9, 60, 5), Worker(), Worker(), Worker(jobs=5), Worker()
    dead.alive = False
    assert [cells.give(w, MINE, now) for w, now in ((old, 0), (young, 30), (used, 30), (dead, 30))] == [
        [],
        [],
        [used],
        [dead],
    ]
    assert (cells.expired(59.9), cells.expired(60), len(cells)) == ([], [old], 1)
    assert (cells.clear(), len(cells)) == ([young], 0)


def test_without_room_nothing_is_kept():
    worker = Worker()
    assert (Cells(0, 60, 5).give(worker, MINE, 0), worker.wiped) == ([worker], 0)
