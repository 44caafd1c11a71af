"""Code of a plugin that holds the event loop is named and interrupted (CONTRACT 3, "own frames watched")."""

import asyncio
import threading
import time

import pytest
import structlog

from orchestrator.contracts.errors import OrchestratorError
from tests.integration.host_rig import running, with_manager

GOOD = "async def handle(request): return request.text"


async def fails(rig, name: str, **fields) -> OrchestratorError:
    with pytest.raises(OrchestratorError) as caught:
        await rig.ask(name, **fields)
    return caught.value


async def test_a_plugin_that_holds_the_loop_is_named_and_interrupted(tmp_path):
    """CONTRACT 3, "own frames watched": the log says plugin, file and line; others wait no longer than set."""
    source = (
        "import time\nasync def handle(request):\n if request.text == 'spin':\n  while True: pass\n time.sleep(30)\n"
    )
    async with running(tmp_path, {"a.py": source, "good.py": GOOD}, block_warn_ms=50, block_interrupt_ms=300) as rig:
        for text, line in (("spin", 4), ("sleep", 5)):
            with structlog.testing.capture_logs() as logs:
                began = time.monotonic()
                fault = await fails(rig, "a", text=text)
                assert time.monotonic() - began < 1.5
            assert fault.status == 504
            assert "held the event loop" in fault.detail
            (told,) = [entry for entry in logs if entry["event"] == "plugin.blocked_loop"]
            assert (told["plugin"], told["file"], told["line"]) == ("a", "a.py", line)
            assert await rig.ask("good") == "hello"
        assert rig.metrics.plugin_blocked.labels("a")._value.get() == 2


def test_off_the_main_thread_the_culprit_is_named_though_it_cannot_be_interrupted(tmp_path):
    source = "import time\nasync def handle(request): time.sleep(0.4); return 1"

    async def scene():
        async with running(tmp_path, {"a.py": source}, block_warn_ms=50, block_interrupt_ms=100) as rig:
            return await rig.ask("a"), rig.metrics.plugin_blocked.labels("a")._value.get()

    found = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(scene())))
    thread.start()
    thread.join()
    assert found == [(1, 1.0)]


async def test_a_task_that_a_plugin_left_on_the_loop_is_interrupted_too(tmp_path):
    source = (
        "import asyncio, time\ntasks = []\n"
        "async def spin():\n while True: pass\n"
        "async def handle(request):\n tasks.append(asyncio.get_running_loop().create_task(spin()))\n return 1\n"
        "def close():\n tasks.clear()\n"
    )
    async with running(tmp_path, {"a.py": source, "good.py": GOOD}, block_warn_ms=50, block_interrupt_ms=150) as rig:
        assert await rig.ask("a") == 1
        began = time.monotonic()
        assert await rig.ask("good") == "hello"
        assert time.monotonic() - began < 1


async def test_the_daemons_own_slowness_is_not_blamed_on_the_plugin_that_waits_for_it(tmp_path):
    source = with_manager("async def handle(request):", "    return (await M.sandbox.run('1')).stdout")
    async with running(tmp_path, {"a.py": source}, block_warn_ms=20, block_interrupt_ms=60) as rig:

        async def slow(call, code, fields):
            with threading.Lock():
                time.sleep(0.3)
            return {"stdout": "late"}

        slow.__globals__["__name__"] = "orchestrator.test"
        try:
            rig.services.run_code = slow
            assert await rig.ask("a") == "late"
        finally:
            slow.__globals__["__name__"] = __name__
