"""Executions on a real engine: an ordinary script, exact answers, armed workers, cancelling (CONTRACT 4, R2-09, R2-17)."""

import asyncio
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.contracts.errors import Unavailable
from orchestrator.contracts.executions import ExecutionRequest
from orchestrator.kernel.ids import new_id
from orchestrator.sandbox import engines, images, preflight
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import COLD, IDS, IMAGES, Told, containers, opened, permit_for

pytestmark = pytest.mark.engine
ARMED = SandboxSettings(armed=1, uid_first=IDS + 4_000)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    images.build(COLD, IMAGES, "default", lambda _: None)
    return tmp_path_factory.mktemp("state")


@pytest.fixture
async def box(state):
    async with opened(state) as box:
        yield box


async def until(condition) -> None:
    """Wait for what only the engine knows of; it has no event for us."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def engine():
    client = engines.connect(engines.find(None), 30)
    yield client
    client.close()


SCRIPTS = {
    "the standard library's heavy end": "import asyncio, ctypes, decimal, sqlite3, ssl, xml.etree, zoneinfo, email, http.client, unittest\n"
    "zoneinfo.ZoneInfo('Europe/Berlin'); sqlite3.connect('x.db').execute('create table t (a)'); asyncio.run(asyncio.sleep(0))\nprint('ok')",
    "a pool of processes by fork": "import multiprocessing as m\nif __name__ == '__main__':\n  with m.Pool(2) as p: print('ok' if p.map(abs, [-1, -2]) == [1, 2] else '')",
    "a pool of processes by spawn": "import multiprocessing as m\ndef f(x): return x + 1\nif __name__ == '__main__':\n"
    "  m.set_start_method('spawn')\n  with m.Pool(2) as p: print('ok' if p.map(f, [1, 2]) == [2, 3] else '')",
    "shared memory and locks": "from multiprocessing import shared_memory, Lock, Queue\ns = shared_memory.SharedMemory(create=True, size=10)\n"
    "s.buf[0] = 7; s.close(); s.unlink(); Lock(); Queue().put(1); print('ok')",
    "temporary files": "import tempfile\nwith tempfile.TemporaryDirectory() as d, tempfile.NamedTemporaryFile(dir=d) as f: f.write(b'x')\n"
    "assert tempfile.gettempdir() == '/tmp'; print('ok')",
    "threads and their executor": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as e: list(e.map(abs, range(9)))\nprint('ok')",
    "subprocesses": "import subprocess, sys\nassert subprocess.check_output([sys.executable, '-c', 'print(1)']) == b'1\\n'\nprint('ok')",
    "its own names": "import sys, os, inspect\nassert __name__ == '__main__' and sys.argv == ['main.py'] and sys.path[0] == os.getcwd()\n"
    "assert sys.modules['__main__'].__dict__ is globals() and sys.flags.isolated == 0\n"
    "assert __spec__ is None and inspect.getsource(sys.modules['__main__']).startswith('import sys')\n"
    "assert not {'frames', 'watch', 'become', 'place', 'counters', 'json', 'ctypes'} & set(sys.modules)\nprint('ok')",
    "classes that are pickled": "import pickle\nclass A: pass\nassert type(pickle.loads(pickle.dumps(A()))) is A\nprint('ok')",
    "exit handlers and the last words of threads": "import atexit, threading, time\natexit.register(print, 'ok')\n"
    "threading.Thread(target=lambda: time.sleep(0.05)).start()",
    "an executable file": "import os, stat, subprocess\nopen('x', 'w').write('#!/bin/sh\\necho ok\\n')\nos.chmod('x', 0o755)\nsubprocess.run(['./x'])",
    "home is the working directory": "import os, pathlib\nassert pathlib.Path.home() == pathlib.Path.cwd() and os.listdir() == []\nprint('ok')",
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_a_job_sees_what_an_ordinary_script_sees(box, script):
    outcome = await box.run(script)
    assert (outcome.status, outcome.stdout) == ("ok", "ok\n"), (outcome.reason, outcome.stderr)


async def test_a_traceback_is_the_scripts_own(box):
    outcome = await box.run("def f():\n    raise ValueError('x')\nf()")
    assert (outcome.status, outcome.exit_code) == ("error", 1)
    assert outcome.stderr == (
        'Traceback (most recent call last):\n  File "/program/main.py", line 3, in <module>\n    f()\n'
        "  File \"/program/main.py\", line 2, in f\n    raise ValueError('x')\nValueError: x\n"
    )


async def test_the_answer_is_whole(box):
    """CONTRACT 4: every member, with the facts of where it ran."""
    said: list[str] = []
    outcome = await box.run("print(6 * 7)", id="an-id", progress=Told(said.append), subject="somebody")
    assert (outcome.id, outcome.status, outcome.exit_code, outcome.signal, outcome.limits_hit) == (
        "an-id",
        "ok",
        0,
        None,
        [],
    )
    assert (outcome.stdout, outcome.stderr, outcome.subject, said) == ("42\n", "", "somebody", ["queued", "running"])
    assert 0 < outcome.usage.wall_ms < 2_000
    assert 0 < outcome.usage.cpu_ms < 2_000
    assert 2**20 < outcome.usage.peak_memory_bytes < 20 * 2**20
    assert outcome.usage.start_ms > 0
    where = outcome.sandbox
    assert (where.isolation, where.engine, where.runtime, where.network) == ("container", "docker", "runc", "none")
    assert where.image.startswith("orchestrator-sandbox/default@sha256:")
    assert (where.warm, where.limits_unenforced, where.dev) == (False, [], None)


async def test_each_job_has_chance_of_its_own(state):
    """CONTRACT 4: `random` is fresh for each job, and so is the hash seed in `container`."""
    async with opened(state, ARMED) as box:
        ran = [await box.run("import random; print(random.random(), hash('x'))") for _ in range(3)]
    assert len({outcome.stdout for outcome in ran}) == 3


async def test_an_armed_worker_serves_and_is_replaced(state):
    """DESIGN 4: fresh, used once; the next one is made at once."""
    async with opened(state, ARMED) as box:
        for _ in range(3):
            await until(lambda: box.sandbox._pool.armed >= 1)
            outcome = await box.run("import os; print(os.listdir('/tmp'))\nopen('/tmp/left', 'w')")
            assert (outcome.stdout, outcome.sandbox.warm) == ("[]\n", True)
        assert not (await box.run("print(1)", limits={"pids": 30})).sandbox.warm


async def test_an_armed_worker_that_died_waiting_costs_nobody_his_execution(state, engine):
    """ABUSE: a container removed from outside."""
    daemon = new_id()
    async with opened(state, ARMED, daemon) as box:
        await until(lambda: box.sandbox._pool.armed >= 1)
        for entry in containers(daemon):
            engine.remove_container(entry["Id"], force=True)
        outcome = await box.run("print(1)")
        assert (outcome.status, outcome.stdout) == ("ok", "1\n")


@pytest.mark.parametrize(("harm", "status"), [("kill", "infra"), ("pause", "timeout"), ("remove_container", "infra")])
async def test_a_container_that_is_harmed_from_outside_is_told_as_it_is(state, engine, harm, status):
    """CONTRACT 4: `infra` is our fault and may have run; a frozen one is killed from outside after its deadline."""
    daemon, begun = new_id(), asyncio.Event()
    async with opened(state, COLD.model_copy(update={"grace_ms": 300}), daemon) as box:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(
                box.run(
                    "while True: pass",
                    limits={"wall_ms": 500},
                    progress=Told(lambda s: begun.set() if s == "running" else None),
                )
            )
            await begun.wait()
            (entry,) = containers(daemon)
            getattr(engine, harm)(entry["Id"], **({"force": True} if harm == "remove_container" else {}))
        outcome = running.result()
        assert outcome.status == status, outcome
        assert (await box.run("print(1)")).stdout == "1\n"


@pytest.mark.parametrize("stage", ["queued", "running"])
async def test_an_execution_is_cancelled_at_any_stage(state, stage):
    """CONTRACT 4: DELETE cancels and answers the execution."""
    reached = asyncio.Event()
    async with opened(state, COLD.model_copy(update={"max_running": 1})) as box, asyncio.TaskGroup() as group:
        first = group.create_task(
            box.run(
                "print('begun', flush=True)\nwhile True: pass",
                id="first",
                progress=Told(lambda s: reached.set() if s == "running" else None),
            )
        )
        await reached.wait()
        if stage == "queued":
            second = group.create_task(box.run("print(1)", id="second"))
            await until(lambda: box.sandbox._slots.waiting == 1)
            assert box.sandbox.cancel("second")
            assert (await second).status == "cancelled"
        assert box.sandbox.cancel("first")
        outcome = await first
        assert (outcome.status, outcome.exit_code, outcome.signal) == ("cancelled", None, None)
        assert not box.sandbox.cancel("first")
        assert not box.sandbox.cancel("nobody")


async def test_many_at_once_all_come_right(box):
    """More than there are slots, owners mixed, verdicts mixed."""
    wanted = {
        "print('a')": "ok",
        "raise SystemExit(2)": "error",
        "import os; os.abort()": "signal",
        "x = b'x' * 2**28": "oom",
    }
    codes = list(wanted) * 3
    outcomes = await asyncio.gather(*(box.run(code, owner=str(i % 3)) for i, code in enumerate(codes)))
    assert [outcome.status for outcome in outcomes] == [wanted[code] for code in codes]


class Door:
    """A socket that leads to the engine's, and can be closed and opened: an engine that stops and comes back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._serving)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        far_reader, far_writer = await asyncio.open_unix_connection(urlsplit(engines.find(None).url).path)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()


async def test_an_engine_that_is_gone_is_said_and_comes_back_by_itself(state, tmp_path):
    """R2-09: no engine, no execution: 503, never unsandboxed; and served again without a restart."""
    path = tmp_path / "engine.sock"
    settings = COLD.model_copy(update={"docker_host": f"unix://{path}", "probe_interval_ms": 100})
    door = Door(path)
    async with opened(state, settings) as box:
        assert box.sandbox.health() == ("degraded", f"no Docker engine answers: no socket at unix://{path}")
        with pytest.raises(Unavailable) as caught:
            await box.run("print(1)")
        assert (caught.value.code, caught.value.status) == ("sandbox_unavailable", 503)
        await door.open()
        await until(lambda: box.sandbox.health()[0] == "ok")
        assert (await box.run("print(1)")).stdout == "1\n"
        begun = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            lost = group.create_task(
                box.run("while True: pass", progress=Told(lambda s: begun.set() if s == "running" else None))
            )
            await begun.wait()
            await door.close()
        assert lost.result().status == "infra"
        await until(lambda: box.sandbox.health()[0] == "degraded")
        await door.open()
        await until(lambda: box.sandbox.health()[0] == "ok")
        assert (await box.run("print(2)")).stdout == "2\n"
        await until(lambda: box.sandbox.health()[0] == "ok")
    await door.close()


async def test_an_engine_that_hangs_holds_up_neither_start_nor_end(tmp_path, monkeypatch):
    """ABUSE: an engine that takes connections and says nothing."""
    monkeypatch.setattr("orchestrator.sandbox.monitor.FIRST_LOOK_S", 0.2)
    path = tmp_path / "silent.sock"
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda _, writer: held.append(writer), str(path))
    async with opened(
        None, COLD.model_copy(update={"docker_host": f"unix://{path}", "engine_timeout_ms": 1_000})
    ) as box:
        assert box.sandbox.health()[0] == "degraded"
        with pytest.raises(Unavailable):
            await box.run("print(1)")
        for writer in held:
            writer.transport.abort()
        server.close()


async def test_the_posture_is_read_back_told_and_remembered(tmp_path):
    """DESIGN 4: what holds is tried and compared with what must hold, for the audit; a warm start stays short."""
    file = tmp_path / "preflight"
    async with opened(tmp_path) as box:
        first = (os.stat(file).st_mtime_ns, file.read_text())
        ((topic, outcome, posture),) = box.told
        assert (topic, outcome, posture["tried"]) == ("sandbox.posture", "ok", True)
        assert set(posture["walls"].values()) == {"holds"}
        assert {"memory_bytes", "pids", "the absence of a network", "the read-only root"} <= set(posture["walls"])
        assert (posture["seen"]["seccomp"], posture["seen"]["interfaces"]) == ("2", ["lo"])
    async with opened(tmp_path) as box:
        assert box.sandbox.health()[0] == "ok"
        assert (os.stat(file).st_mtime_ns, file.read_text()) == first
        ((_, _, again),) = box.told
        assert again == {**posture, "tried": False}


async def test_nothing_runs_where_a_wall_does_not_hold_and_the_audit_is_told(tmp_path, monkeypatch):
    """DESIGN 4: the daemon refuses rather than run degraded."""
    monkeypatch.setattr(preflight, "walled", lambda *_: {"the read-only root": False, "pids": True})
    async with opened(tmp_path) as box:
        topic, outcome, posture = box.told[0]
        assert (topic, outcome, posture["walls"]["the read-only root"]) == ("sandbox.posture", "failed", "fails")
        assert "does not enforce the read-only root" in box.sandbox.health()[1]
        with pytest.raises(Unavailable, match="does not enforce the read-only root"):
            await box.run("print(1)")
    assert not (tmp_path / "preflight").exists()


async def test_a_batch_runs_programs_one_by_one_each_with_its_own_id_directory_and_deadline(box):
    """DESIGN 4 `run_batch`: one that hangs costs its timeout and hardly more; nothing of one reaches the next."""
    look = "import os\nprint(os.getuid(), os.listdir('.'), os.listdir('/tmp'))\nopen('x', 'w'); open('/tmp/y', 'w')"
    hangs = {"code": "while True: pass", "limits": {"wall_ms": 300}}
    requests = [{"code": look}, {"code": look}, hangs, {"code": look}, {"code": "raise SystemExit(3)"}]
    batch = [box.sandbox.admit(ExecutionRequest.model_validate(request)) for request in requests]
    done = await box.sandbox.run_batch("id", batch, owner="o", key_id=None, permit=permit_for("id"), progress=Told())
    assert [(one.status, one.exit_code) for one in done] == [
        ("ok", 0),
        ("ok", 0),
        ("timeout", None),
        ("ok", 0),
        ("error", 3),
    ]
    seen = [one.stdout.split(" ", 1) for one in done if one.stdout]
    assert {rest for _, rest in seen} == {"[] []\n"}
    assert seen[0][0] != seen[1][0]
