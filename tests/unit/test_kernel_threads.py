"""Threads that may be lost, and tasks that somebody watches."""

import asyncio
import threading

import pytest

from orchestrator.kernel.tasks import Supervisor
from orchestrator.kernel.threads import DaemonThreads


async def test_what_a_thread_returns_or_raises_comes_back() -> None:
    threads = DaemonThreads("t", 2)
    assert await threads.run(lambda: 42) == 42
    with pytest.raises(ValueError, match="mine"):
        await threads.run(lambda: (_ for _ in ()).throw(ValueError("mine")))
    with pytest.raises(SystemExit):
        await threads.run(lambda: exec("raise SystemExit(3)"))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.run(lambda: next(iter(())))
    threads.close()


async def test_thousands_of_jobs_from_many_tasks_all_come_back() -> None:
    threads = DaemonThreads("t", 4)
    assert await asyncio.gather(*(threads.run(lambda n=n: n * 2) for n in range(5000))) == [n * 2 for n in range(5000)]
    threads.close()


async def test_never_more_threads_than_the_size_and_idle_ones_are_used_again() -> None:
    threads, seen = DaemonThreads("sized", 3), set()
    for _ in range(50):
        seen |= set(await asyncio.gather(*(threads.run(threading.get_ident) for _ in range(9))))
    assert len(seen) <= 3
    threads.close()


async def test_a_lost_thread_leaves_the_others_working() -> None:
    threads, release = DaemonThreads("t", 2), threading.Event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(threads.run(release.wait), 0.05)
    assert await asyncio.wait_for(asyncio.gather(*(threads.run(lambda: 1) for _ in range(20))), 5) == [1] * 20
    release.set()
    threads.close()


async def test_closed_threads_take_nothing() -> None:
    threads = DaemonThreads("t", 1)
    threads.close()
    with pytest.raises(RuntimeError, match="closed"):
        await threads.run(lambda: 1)


async def test_a_root_task_that_ends_is_named_and_one_that_is_closed_is_not() -> None:
    async def brief() -> None:
        return None

    async def failing() -> None:
        raise ValueError("on purpose")

    async def steady() -> None:
        await asyncio.Event().wait()

    for work in (brief, failing):
        supervisor = Supervisor()
        supervisor.root("steady", steady())
        supervisor.root("the one", work())
        assert await asyncio.wait_for(supervisor.failed, 5) == "the one"
        await supervisor.close()
    supervisor = Supervisor()
    supervisor.root("steady", steady())
    child = supervisor.child("child", brief())
    await child
    await supervisor.close()
    assert supervisor.failed.cancelled()
