"""What is kept ready follows what is asked for, on a real engine (DESIGN 4)."""

import asyncio

import pytest

from orchestrator.sandbox import images
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import COLD, IDS, IMAGES, Told, opened

pytestmark = pytest.mark.engine
ARMED = SandboxSettings(armed=1, armed_most=3, uid_first=IDS)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """One state directory for all, so that the limits are tried once."""
    images.build(COLD, IMAGES, "default", lambda _: None)
    return tmp_path_factory.mktemp("state")


async def until(condition) -> None:
    """Wait for what the pool does by itself; it tells nobody."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def handed_out(box, source: str) -> float:
    return box.metrics.registry.get_sample_value("orchestrator_sandbox_workers_total", {"source": source}) or 0.0


async def test_after_a_burst_more_are_ready_for_the_next(state):
    """One was armed and three were wanted at once: then three are armed, and the next three wait for nothing."""
    async with opened(state, ARMED) as box:
        await until(lambda: box.sandbox._pool.armed == 1)
        await asyncio.gather(*(box.run("print(1)") for _ in range(3)))
        assert (handed_out(box, "armed"), handed_out(box, "cold")) == (1, 2)
        await until(lambda: box.sandbox._pool.armed == 3)
        outcomes = await asyncio.gather(*(box.run("print(1)") for _ in range(3)))
        assert [outcome.sandbox.warm for outcome in outcomes] == [True] * 3
        assert box.metrics.registry.get_sample_value("orchestrator_sandbox_armed_age_seconds_count") == 4


async def test_unusual_limits_that_are_asked_for_often_are_kept_ready_too(state):
    limits = {"memory_bytes": 64 * 2**20}
    async with opened(state, ARMED) as box:
        for _ in range(3):
            assert not (await box.run("print(1)", limits=limits)).sandbox.warm
        await until(lambda: box.sandbox._pool.armed == 2)
        assert (await box.run("print(1)", limits=limits)).sandbox.warm
        assert (await box.run("print(1)")).sandbox.warm


async def test_what_a_long_job_took_is_replaced_while_it_runs(state):
    """A job that holds the only armed worker for its whole time keeps nobody else from finding one."""
    async with opened(state, ARMED) as box:
        await until(lambda: box.sandbox._pool.armed == 1)
        begun = asyncio.Event()
        told = Told(lambda status: begun.set() if status == "running" else None)
        async with asyncio.TaskGroup() as group:
            long = group.create_task(box.run("while True: pass", id="long", progress=told))
            await begun.wait()
            await until(lambda: box.sandbox._pool.armed == 1)
            assert (await box.run("print(1)")).sandbox.warm
            box.sandbox.cancel("long")
        assert long.result().status == "cancelled"


async def test_a_kill_at_the_deadline_is_measured(state):
    async with opened(state, ARMED) as box:
        await box.run("while True: pass", limits={"wall_ms": 200})
        await box.run("print(1)")
        sample = box.metrics.registry.get_sample_value
        assert sample("orchestrator_sandbox_kill_seconds_count") == 1
        assert sample("orchestrator_sandbox_kill_seconds_sum") < 2
