"""Isolation `process`: may `os._exit`, spin, leak and detach without harm, and leaves nothing (CONTRACT 3, ABUSE)."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog

from orchestrator.contracts.errors import Invalid, OrchestratorError, PluginFailed, Unavailable
from tests.integration.host_rig import running

PLUGIN = "import os, sys, time\nPLUGIN = {'isolation': 'process', 'timeout_s': %s}\n"


def plugin(*handle: str, timeout_s: float = 5) -> str:
    lines = [
        "def init(manager):",
        "    global M",
        "    M = manager",
        "def handle(request):",
        *(f"    {h}" for h in handle),
    ]
    return PLUGIN % timeout_s + "\n".join(lines) + "\n"


async def fails(rig, name: str = "a", text: str = "x") -> OrchestratorError:
    with pytest.raises(OrchestratorError) as caught:
        await rig.ask(name, text)
    return caught.value


def processes(mark: str) -> list[int]:
    """All processes whose command line or environment carries `mark`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


async def gone(*pids: int) -> None:
    async with asyncio.timeout(5):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.01)


async def test_a_process_plugin_answers_from_a_warm_child_of_its_own(tmp_path):
    source = plugin(
        "return [os.getpid(), request.text, dict(os.environ), os.getcwd(), os.getsid(0) == os.getsid(os.getppid())]"
    )
    async with running(tmp_path, {"a.py": source}) as rig:
        pid, text, environment, folder, own_session = await rig.ask("a")
        assert (text, folder, own_session) == ("hello", "/", True)
        assert pid != os.getpid()
        assert set(environment) <= {"PATH", "LANG", "LC_CTYPE"}
        assert (await rig.ask("a"))[0] == pid
        assert (rig.view("a").isolation, rig.view("a").calls) == ("process", 2)
    await gone(pid)


async def test_all_forms_and_hooks_work_there(tmp_path):
    source = PLUGIN % 5 + (
        "class Plugin:\n async def init(self, manager): self.m = manager\n"
        " async def handle(self, request): return [request['text'], (await self.m.sandbox.run('1')).usage.wall_ms]\n"
        " def route(self, request, candidates): return {'plugin': candidates[0].plugin, 'score': 0.5}\n"
        " async def close(self): await self.m.publish('closed')\n"
    )
    package = {
        "p/__init__.py": PLUGIN % 5 + "from .inner import handle",
        "p/inner.py": "def handle(request): return 'inner'",
    }
    async with running(tmp_path, {"a.py": source, **package}) as rig:
        call = rig.call("a")
        assert (await rig.host.handle("a", {"text": "x"}, call)).value == ["x", 1.5]
        assert rig.services.asked[0][1].permit is call.permit
        assert await rig.host.route_hooks({"text": "x"}, [{"plugin": "p", "score": 1}]) == ("p", 0.5)
        assert await rig.ask("p") == "inner"
    assert rig.services.published[0][1] == "plugin.a.closed"


DEATHS = {
    "os._exit(7)": "exit status 7",
    "os.kill(os.getpid(), 11)": "of SIGSEGV",
    "os.killpg(0, 9)": "of SIGKILL",
    "os.kill(os.getppid(), 9); time.sleep(9)": "of SIGKILL",
    "import ctypes; ctypes.string_at(0)": "of SIGSEGV",
    "sys.exit(3)": "left by SystemExit",
    "x = bytearray(2**34)": "MemoryError",
    "return {1}": "answer is of type set",
    "os.closerange(3, 99); time.sleep(9)": "process",
    "1 / 0": "raised ZeroDivisionError",
    "return 'x' * 10**8": "larger than",
}


@pytest.mark.parametrize("death", DEATHS)
async def test_a_childs_death_is_502_for_that_request_alone(tmp_path, death):
    source = plugin("if request.text == 'good': return 1", death)
    async with running(tmp_path, {"a.py": source}) as rig:
        for _ in range(2):
            fault = await fails(rig)
            assert (type(fault), fault.code) == (PluginFailed, "plugin_error")
            assert DEATHS[death] in fault.detail
            assert await rig.ask("a", "good") == 1, "the next request has a fresh child"


async def test_the_deadline_kills_the_child_and_all_that_it_started(tmp_path):
    mark = f"nap-{os.getpid()}-{time.monotonic_ns()}"
    source = plugin(
        "import subprocess",
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', {mark!r}])",
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', {mark!r}], start_new_session=True)",
        f"nap = (sys.executable, '-c', 'import time; time.sleep(60)', {mark!r})",
        "os.spawnlp(os.P_WAIT, 'setsid', 'setsid', '-f', *nap)",
        "while True: pass",
        timeout_s=0.7,
    )
    async with running(tmp_path, {"a.py": source}) as rig:
        began = time.monotonic()
        fault = await fails(rig)
        assert (fault.status, fault.code) == (504, "plugin_timeout")
        assert time.monotonic() - began < 1.2
        await gone(*processes(mark))
        assert processes(mark) == []


async def test_requests_run_beside_each_other_in_several_children_up_to_the_bound(tmp_path):
    source = plugin("time.sleep(0.3)", "return os.getpid()")
    async with running(tmp_path, {"a.py": source}, process_children=2, process_idle_s=0.2) as rig:
        await rig.ask("a")
        pids = await asyncio.gather(*(rig.ask("a") for _ in range(4)))
        assert len(set(pids)) == 2
        last = await rig.ask("a")
        await gone(next(pid for pid in pids if pid != last))
        assert await rig.ask("a") == last


async def test_import_and_init_faults_are_told_as_for_inline_ones(tmp_path):
    sources = {
        "missing.py": PLUGIN % 1 + "import nowhere_at_all",
        "raises.py": PLUGIN % 1 + "raise ValueError('no')",
        "exits.py": PLUGIN % 1 + "os._exit(4)",
        "hangs.py": PLUGIN % 1 + "while True: pass",
        "init.py": PLUGIN % 1 + "def init(manager): 1 / 0\ndef handle(request): pass",
        "manifest.py": "PLUGIN = {'isolation': 'process', 'colour': 1}\ndef handle(request): pass",
        "nothing.py": PLUGIN % 1,
    }
    reasons = {
        "missing": "pip install nowhere_at_all", "raises": "ValueError: no", "exits": "exit status 4",
        "hangs": "longer than", "init": "ZeroDivisionError", "manifest": "PLUGIN.colour", "nothing": "neither",
    }  # fmt: skip
    async with running(tmp_path, sources, import_timeout_s=2.0, start_wait_s=0.0) as rig:
        for name, why in reasons.items():
            await rig.event("plugin.failed", name)
            assert why in rig.view(name).error.message, rig.view(name).error
            with pytest.raises(Invalid):
                await rig.ask(name)


async def test_the_managers_door_stays_shut_outside_of_a_call_and_for_what_a_former_call_left(tmp_path):
    source = PLUGIN % 5 + (
        "import threading\ngo = threading.Event(); done = threading.Event(); found = []\n"
        "def init(manager):\n global M\n M = manager\n"
        " try: manager.sandbox.run_blocking('init')\n"
        " except RuntimeError as f: found.append(str(f))\n"
        "def handle(request):\n"
        " if request.text == 'leave':\n"
        "  import contextvars; context = contextvars.copy_context()\n"
        "  def later():\n"
        "   go.wait()\n"
        "   try: M.sandbox.run_blocking('stolen')\n"
        "   except Exception as f: found.append(str(f))\n"
        "   done.set()\n"
        "  threading.Thread(target=context.run, args=(later,)).start()\n"
        " else:\n"
        "  go.set(); done.wait()\n"
        " return found\n"
    )
    async with running(tmp_path, {"a.py": source}) as rig:
        (first,) = await rig.ask("a", "leave")
        assert "permit" in first
        assert "outside of any query" in (await rig.ask("a", "go"))[1]
        assert rig.services.asked == []


async def test_a_fault_of_the_daemon_crosses_the_channel_and_back(tmp_path):
    source = plugin("return M.sandbox.run_blocking('1').stdout")
    async with running(tmp_path, {"a.py": source}, breaker_failures=1) as rig:
        rig.services.engine = False
        for _ in range(2):
            fault = await fails(rig)
            assert isinstance(fault, Unavailable)
            assert fault.headers["Retry-After"] == "1"
        rig.services.engine = True
        assert await rig.ask("a") == "ran 1"


async def test_events_reach_the_listeners_of_a_child(tmp_path):
    source = PLUGIN % 5 + (
        "heard = []\nasync def init(manager):\n"
        " await manager.subscribe('query.*', lambda event: heard.append(event.data.n))\n"
        "def handle(request): return heard\n"
    )
    async with running(tmp_path, {"a.py": source}) as rig:
        (listener,) = rig.services.listeners["query.*"]
        await listener({"topic": "query.failed", "data": {"n": 7}})
        assert await rig.ask("a") == [7]
    assert rig.services.listeners["query.*"] == []


async def test_what_a_child_prints_goes_to_the_log_and_is_bounded(tmp_path):
    source = plugin("print('printed', request.text)", "M.log.warning('noted', n=5)", "print('y' * 10**6)", "return 1")
    async with running(tmp_path, {"a.py": source}, process_log_bytes=5000) as rig:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                await rig.ask("a", "this")
            async with asyncio.timeout(5):
                while not any("left out" in entry.get("line", "") for entry in logs):
                    await asyncio.sleep(0.01)
        lines = [entry["line"] for entry in logs if entry["event"] == "plugin.output"]
        assert lines[0] == "printed this"
        assert sum(map(len, lines)) < 6000
        assert {"event": "noted", "plugin": "a", "fields": {"n": "5"}, "log_level": "warning"} in logs


async def test_a_new_version_gets_new_children_and_the_old_ones_go(tmp_path):
    async with running(tmp_path, {"a.py": plugin("return ['1', os.getpid()]")}) as rig:
        _, old = await rig.ask("a")
        rig.write("a.py", plugin("return ['2', os.getpid()]"))
        await rig.event("plugin.reloaded", "a")
        assert (await rig.ask("a"))[0] == "2"
        await gone(old)


@pytest.mark.slow
async def test_reloads_under_load_fail_no_request(tmp_path):
    async with running(tmp_path, {"a.py": plugin("return 0")}) as rig:
        over = asyncio.Event()

        async def client():
            while not over.is_set():
                await rig.ask("a")

        clients = [asyncio.get_running_loop().create_task(client()) for _ in range(3)]
        for n in range(1, 4):
            rig.write("a.py", plugin(f"return {n}"))
            await rig.event("plugin.reloaded", "a", n)
            assert await rig.ask("a") == n
        over.set()
        await asyncio.gather(*clients)
        assert rig.view("a").failures == 0


DAEMON = """
import asyncio, sys
from pathlib import Path
from tests.integration.host_rig import running

async def main(folder):
    async with running(Path(folder)) as rig:
        print(*await rig.ask("a"), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


def test_no_child_outlives_a_daemon_that_was_killed(tmp_path):
    """Also what the child detached by setsid, and though it spins."""
    mark = f"orphan-{os.getpid()}-{time.monotonic_ns()}"
    (tmp_path / "plugins").mkdir(mode=0o755)
    (tmp_path / "plugins" / "a.py").write_text(
        plugin(
            "import subprocess, threading",
            f"p = subprocess.Popen(['sleep', '60'], start_new_session=True, env={{'MARK': {mark!r}}})",
            "threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()",
            "return [os.getpid(), p.pid, os.getppid()]",
        )
    )
    root = str(Path(__file__).parents[2])
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(tmp_path)], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    with daemon:
        lines = iter(daemon.stdout.readline, "")
        pids = next(line for line in lines if line.replace(" ", "").strip().isdigit()).split()
        daemon.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 3
    while (left := [p for p in pids if Path(f"/proc/{p}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []
