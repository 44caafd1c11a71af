"""The engine that `make` starts, and processes told apart: with real ones."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.bootstrap import processes
from orchestrator.bootstrap.client import Answer, EngineClient
from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.contexts import Endpoint, endpoints
from orchestrator.bootstrap.machine import Machine
from tests.own_engine import own_engine, own_folder

_SLEEPER = [sys.executable, "-c", "import sys, time; print(1, flush=True); time.sleep(600)"]
_STUBBORN = [
    sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)",
]  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    with own_folder() as path:
        yield path


@pytest.mark.engine
def test_an_engine_of_ours_starts_stays_and_is_ended_by_its_pid(folder: Path) -> None:
    """CONTRACT 0: a session of its own; started twice it is one; `engine-stop` ends that one."""
    engine = own_engine(folder)
    dockerd = Machine().which("dockerd")
    if dockerd is None or os.geteuid() != 0:
        with pytest.raises(Problem):
            engine.start(dockerd or Path("/bin/false"), Console())
        return
    engine.start(dockerd, Console())
    try:
        record = engine.running()
        assert record is not None
        assert EngineClient(Endpoint("system", f"unix://{engine.socket}")).hear().answer is Answer.READY
        assert os.getsid(record["pid"]) == record["pid"]
        runtimes = EngineClient(Endpoint("system", f"unix://{engine.socket}")).get("/info")["Runtimes"]
        assert ("runsc" in runtimes) == engine.runsc.exists()
        engine.start(dockerd, Console())
        assert engine.running() == record
    finally:
        assert engine.stop(Console())
    os.waitpid(record["pid"], 0)
    assert processes.started(record["pid"]) is None
    assert str(folder) not in Path("/proc/mounts").read_text()
    assert not engine.stop(Console())


def test_an_engine_that_does_not_come_up_is_told_with_its_last_words(folder: Path) -> None:
    program = folder / "dockerd"
    program.write_text("#!/bin/sh\necho the disk is full >&2\nexit 1\n")
    program.chmod(0o755)
    engine = own_engine(folder)
    with pytest.raises(Problem, match="the disk is full"):
        engine.start(program, Console())
    assert engine.running() is None
    assert not engine.record.exists()


def test_a_recorded_pid_that_is_another_process_by_now_is_left_alone(folder: Path) -> None:
    engine = own_engine(folder)
    with subprocess.Popen(_SLEEPER, stdout=subprocess.PIPE) as other:
        engine.record.write_text(json.dumps({"pid": other.pid, "started": 1}))
        assert not engine.stop(Console())
        assert other.poll() is None
        other.kill()


_NULL = '{"pid": 4194305, "started": null}'


@pytest.mark.parametrize(
    "record",
    ["", "[]", "{}", '{"pid": "x", "started": 1}', '{"pid": 4194305, "started": 1}', _NULL],
)
def test_a_broken_record_is_no_engine_of_ours(folder: Path, record: str) -> None:
    engine = own_engine(folder)
    engine.record.write_text(record)
    assert engine.running() is None
    assert not engine.stop(Console())


@pytest.mark.parametrize(("argv", "code"), [(_SLEEPER, -signal.SIGTERM), (_STUBBORN, -signal.SIGKILL)])
def test_a_process_is_asked_first_and_then_killed(argv: list[str], code: int) -> None:
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        since = processes.started(process.pid)
        assert since is not None
        assert not processes.end(process.pid, since + 1, wait_s=0.2)
        assert process.poll() is None
        assert processes.end(process.pid, since, wait_s=0.2)
        assert process.wait(10) == code
        assert not processes.end(process.pid, since, wait_s=0.2)


def test_what_a_dead_engine_left_is_cleared_and_what_a_live_one_has_is_not(folder: Path) -> None:
    engine = own_engine(folder)
    (engine.run / "containerd").mkdir(parents=True)
    stale = engine.run / "docker.pid"
    address = engine.run / "containerd/containerd.sock"
    for text in (str(os.getpid()), "rubbish", "4194305"):
        stale.write_text(text)
        engine.clear()
        assert not stale.exists()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        engine.clear()
        assert address.exists()
    engine.clear()
    assert not address.exists()


@pytest.mark.engine
def test_the_engine_of_this_machine_answers_at_the_first_address_that_is_tried() -> None:
    heard = [EngineClient(endpoint).hear().answer for endpoint in endpoints(Machine())]
    assert Answer.READY in heard
