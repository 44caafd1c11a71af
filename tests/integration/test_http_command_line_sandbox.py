"""`orchestrator run` and `orchestrator sandbox …` as a person and a script use them (CONTRACT 8)."""

import asyncio
import json
import os
import pty
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.config.places import ROOT
from orchestrator.testing.daemons import Client

pytestmark = pytest.mark.engine
PATH = "/v1/sandbox/executions"


class Cli:
    """The command line as a process of its own, in a folder of its own."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.folder = folder
        self._env = {
            **os.environ, "PYTHONPATH": str(ROOT), "ORCHESTRATOR_URL": client.url, "ORCHESTRATOR_KEY": client.key or "",
        }  # fmt: skip

    async def start(self, *words: str, **options) -> asyncio.subprocess.Process:
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
        argv = (sys.executable, "-m", "orchestrator", *words)
        return await asyncio.create_subprocess_exec(*argv, cwd=self.folder, env=self._env, **{**pipes, **options})

    async def __call__(self, *words: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        process = await self.start(*words)
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
        assert process.returncode is not None
        return process.returncode, out, err.decode()


@pytest.fixture
def cli(admin, tmp_path) -> Cli:
    return Cli(admin, tmp_path)


async def test_output_passes_as_it_is_and_the_exit_says_how_it_ended(cli):
    """Bytes that are no text too; 0 if the program's own was, else 1 and why."""
    code = b"import sys\nsys.stdout.buffer.write(b'\\xff\\x00' + sys.stdin.buffer.read() + sys.argv[1].encode())"
    (cli.folder / "input").write_bytes(b"\xfe")
    assert await cli("run", "-", "--stdin", "input", "--", "arg", stdin=code) == (0, b"\xff\x00\xfearg", "")
    returned, out, err = await cli(
        "run", "-", stdin=b"import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    )
    assert (returned, out) == (1, b"out\n")
    assert err.startswith("err\n")
    assert "exit code 7" in err


async def test_choices_reach_the_daemon_and_wrong_ones_are_told(cli):
    program = b"import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    words = ("--isolation", "cell", "--subject", "ada", "--limit", "open_files=77", "--json")
    returned, out, _ = await cli("run", "-", *words, stdin=program)
    answer = json.loads(out)
    assert (returned, answer["stdout"], answer["sandbox"]["isolation"], answer["subject"]) == (0, "77\n", "cell", "ada")
    assert (await cli("run", "-", "--limit", "pids"))[0] == 2
    assert (await cli("run", "nowhere.py"))[0] == 2
    returned, _, err = await cli("run", "-", "--limit", "pids=100000")
    assert (returned, "limit_above_profile" in err) == (2, True)


async def test_artifacts_come_into_the_folder_and_what_lies_there_stays(cli):
    code = b"import os\nos.mkdir('d'); open('d/a.txt', 'w').write('new'); os.symlink('/etc/passwd', 'd/link.txt')"
    words = ("run", "-", "--artifact", "d/*.txt", "--out", "figures")
    returned, _, err = await cli(*words, stdin=code)
    assert (returned, "'d/link.txt' was left out: symlink" in err) == (1, True)
    assert [path.name for path in (cli.folder / "figures/d").iterdir()] == ["a.txt"]
    (cli.folder / "figures/d/a.txt").write_text("mine")
    assert "--overwrite" in (await cli(*words, stdin=code))[2]
    assert (cli.folder / "figures/d/a.txt").read_text() == "mine"
    await cli(*words, "--overwrite", stdin=code)
    assert (cli.folder / "figures/d/a.txt").read_text() == "new"


async def test_ctrl_c_cancels_the_program_and_says_130(cli, admin):
    """Its output so far was shown as it came; the daemon takes a client that leaves as his cancelling."""
    process = await cli.start("run", "-", "--subject", "interrupted")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"print('begun', flush=True)\nwhile True: pass")
    process.stdin.close()
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"begun\n"
    running = await cli("sandbox", "ps", "--json")
    rows = [row for row in json.loads(running[1]) if row["subject"] == "interrupted"]
    assert [(row["status"], row["language"], row["isolation"]) for row in rows] == [("running", "python", "container")]
    process.send_signal(signal.SIGINT)
    assert (await process.wait(), await process.stderr.read()) == (130, b"")
    while (found := (await admin.get(f"{PATH}/{rows[0]['id']}")).json)["status"] == "running":
        await asyncio.sleep(0.02)
    assert found["status"] == "cancelled"


async def test_a_program_cannot_steer_the_terminal(cli):
    """On a terminal escape sequences other than colours are shown; in a pipe bytes are bytes."""
    leader, follower = pty.openpty()
    process = await cli.start("run", "-", stdout=follower)
    await process.communicate(b"print('\\x1b[31mred\\x1b[0m\\x1b]52;c;eA==\\x07')")
    os.close(follower)
    assert os.read(leader, 4096).decode() == "\x1b[31mred\x1b[0m␛]52;c;eA==␇\r\n"
    os.close(leader)


async def test_a_reader_that_leaves_ends_it_quietly(cli):
    process = await cli.start("run", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"import time\nwhile True: print('x' * 5000, flush=True); time.sleep(0.05)")
    process.stdin.close()
    await process.stdout.read(10)
    process.stdout._transport.close()
    assert (await asyncio.wait_for(process.wait(), 30), await process.stderr.read()) == (1, b"")


async def test_stats_and_profiles_are_told(cli, admin):
    await admin.post(PATH, json={"code": "while True: pass", "limits": {"wall_ms": 100}})
    returned, out, _ = await cli("sandbox", "stats", "--json")
    found = json.loads(out)
    assert (returned, found["ready"], found["slots"]) == (0, 1, 4)
    assert 0 <= found["hit_rate"] <= 1
    assert 0 < found["start_p50_ms"] <= found["start_p99_ms"]
    assert found["kill_p99_ms"] > 0
    assert b"hit_rate\t" in (await cli("sandbox", "stats"))[1]
    returned, out, _ = await cli("sandbox", "profiles")
    assert (returned, out.split(b"\t")[:3]) == (0, [b"default", b"python", b"True"])


async def test_without_a_daemon_the_exit_is_3(cli):
    cli._env["ORCHESTRATOR_URL"] = "http://127.0.0.1:9"
    for words in (("run", "-"), ("sandbox", "ps"), ("sandbox", "stats")):
        returned, _, err = await cli(*words)
        assert (returned, "no daemon answers" in err) == (3, True)
