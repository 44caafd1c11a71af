"""`make run` from start to drain, as a person and a service use it (CONTRACT 0)."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
_READY = re.compile(r"(http://127\.0\.0\.1:\d+).*?(/\S+/admin\.key)")


@dataclass
class Running:
    """A daemon that `make run` became."""

    make: "subprocess.Popen[str]"
    address: str
    key_file: Path
    ready_s: float

    def pid(self) -> int:
        """The one process under make: the daemon itself."""
        children = Path(f"/proc/{self.make.pid}/task/{self.make.pid}/children").read_text().split()
        assert len(children) == 1, children
        return int(children[0])


@contextmanager
def running(state: Path, *choices: str) -> Iterator[Running]:
    argv = ["make", "run", "PORT=0", f"STATE={state}", *choices]
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    since = time.monotonic()
    make = subprocess.Popen(
        argv, cwd=CHECKOUT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert make.stdout is not None
    said = []
    try:
        for line in make.stdout:
            said.append(line)
            if found := _READY.search(line):
                yield Running(make, found[1], Path(found[2]), time.monotonic() - since)
                break
        else:
            pytest.fail("".join(said))
    finally:
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGTERM)
        make.communicate(timeout=60)


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.engine
def test_a_fresh_state_gets_an_operators_key_and_a_second_start_is_ready_in_under_three_seconds(tmp_path: Path) -> None:
    """R2-02. The key alone on one line, readable by nobody else; the second start finds all of it done."""
    state = tmp_path / "state"
    with running(state) as first:
        assert get(f"{first.address}/healthz")
        assert first.key_file == state / "admin.key"
        assert first.key_file.stat().st_mode & 0o777 == 0o600
        assert len(first.key_file.read_text().splitlines()) == 1
        key = first.key_file.read_text()
    best_s = 60.0
    for _ in range(5):  # others may be at work on this machine: the best of some tells what ours takes
        with running(state) as again:
            assert again.key_file.read_text() == key
            best_s = min(best_s, again.ready_s)
        if best_s < 3:
            return
    pytest.fail(f"ready after {best_s:.1f} s at best")


@pytest.mark.engine
@pytest.mark.parametrize("to_all", [True, False], ids=["Ctrl-C reaches make and daemon", "TERM reaches make alone"])
def test_the_daemon_stands_directly_under_make_and_drains_once(tmp_path: Path, to_all: bool) -> None:
    """A terminal signals the whole group, a service manager its first process; make forwards the latter."""
    with running(tmp_path / "state") as daemon:
        pid = daemon.pid()
        assert b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if to_all:
            os.killpg(daemon.make.pid, signal.SIGINT)
        else:
            daemon.make.terminate()
        out, _ = daemon.make.communicate(timeout=60)
    assert "Traceback" not in out
    assert not Path(f"/proc/{pid}").exists()
