"""The smallest and the largest that a request may ask for: each starts, and each answers rightly (CONTRACT 4, limits)."""

import base64

import pytest

from orchestrator.contracts.errors import Invalid
from orchestrator.sandbox import images, profiles
from tests.attack.rig import COLD, IMAGES, opened

pytestmark = pytest.mark.engine
MIB = 2**20
SMALLEST = {
    "wall_ms": 1, "cpu_ms": 1, "memory_bytes": 16 * MIB, "pids": 3, "disk_bytes": 4_096, "inodes": 16, "open_files": 16,
    "stdout_bytes": 1, "stderr_bytes": 1,
}  # fmt: skip


@pytest.fixture
async def box(tmp_path_factory):
    images.build(COLD, IMAGES, "default", lambda _: None)
    async with opened(tmp_path_factory.getbasetemp()) as box:
        yield box


@pytest.mark.parametrize("name", [name for name in SMALLEST if name not in ("wall_ms", "cpu_ms")])
async def test_the_smallest_of_each_limit_still_runs_a_program(box, name):
    outcome = await box.run("print(4)", limits={name: SMALLEST[name]})
    assert (outcome.status, outcome.stdout[:1]) == ("ok", "4"), outcome


async def test_the_smallest_of_all_together_still_runs_a_program(box):
    limits = {name: least for name, least in SMALLEST.items() if name not in ("wall_ms", "cpu_ms")}
    outcome = await box.run("print(4)", limits=limits)
    assert (outcome.status, outcome.stdout, outcome.limits_hit) == ("ok", "4", ["stdout_bytes"]), outcome


@pytest.mark.parametrize("name", ["wall_ms", "cpu_ms"])
async def test_a_millisecond_is_over_soon(box, name):
    outcome = await box.run("while True: pass", limits={name: 1})
    assert (outcome.status, outcome.limits_hit) == ("timeout", [name])
    assert outcome.usage.wall_ms < 500


async def test_the_largest_of_all_together_runs_a_program(box):
    most = profiles.load(IMAGES)["default"].manifest.limits.maximum.model_dump()
    outcome = await box.run("import sys; sys.stdout.write('x' * (8 * 2**20))", limits=most)
    assert (outcome.status, len(outcome.stdout), outcome.stdout_truncated) == ("ok", 8 * MIB, False), outcome.reason


async def test_megabytes_of_stdin_and_files_arrive(box):
    blob = bytes(range(256)) * 16 * 1024
    files = {f"d/{i}": {"base64": base64.b64encode(blob).decode()} for i in range(3)}
    code = "import sys, hashlib\nfor f in (sys.stdin.buffer, *(open(f'd/{i}', 'rb') for i in range(3))): print(len(f.read()))"
    outcome = await box.run(code, stdin={"base64": base64.b64encode(blob).decode()}, files=files)
    assert outcome.stdout.split() == [str(4 * MIB)] * 4, outcome


async def test_the_largest_request_that_a_memory_is_said_to_hold_runs(box):
    """Nothing of a request is held twice, so what is admitted starts."""
    blob = "y" * (4 * MIB - 200)
    outcome = await box.run(
        "import os; print(os.stat('a').st_size)", files={"a": blob}, limits={"memory_bytes": 16 * MIB}
    )
    assert (outcome.status, outcome.stdout) == ("ok", f"{len(blob)}\n"), outcome
    with pytest.raises(Invalid, match="cannot hold"):
        await box.run("x" * 9 * MIB, limits={"memory_bytes": 16 * MIB})
