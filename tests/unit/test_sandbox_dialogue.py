"""The talk with a runner: what carries no nonce, no sense or no end is not believed (ABUSE "Output")."""

import asyncio
import importlib.util
import json
import struct
from pathlib import Path

import pytest

from orchestrator.contracts.executions import Limits
from orchestrator.sandbox import dialogue, frames
from orchestrator.sandbox.dialogue import Dialogue
from orchestrator.sandbox.frames import BrokenStream, Kind
from orchestrator.sandbox.jobs import Job

RUNNER = Path(__file__).parents[2] / "sandbox_images" / "runner" / "frames.py"
JOB = Job("id", Limits(stdout_bytes=4), [], {}, [("program", "", b"print()"), ("file", "a", b"x")])
EVIDENCE = {
    "ended_by": None, "wait_status": 0, "survivors": False, "wall_ms": 1.5, "cpu_ms": 1, "peak_memory_bytes": 1, "oom_kills": 0,
    "pids_refused": 0, "disk_free_bytes": 9999, "inodes_free": 9, "output_bytes": {"stdout": 6, "stderr": 0},
}  # fmt: skip


class Sink:
    """Takes what the host writes; `nonce` is what it ended with."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        return

    @property
    def nonce(self) -> bytes:
        return self.data[-16:]


async def talk(*told: tuple[Kind, bytes] | bytes, nonce: bytes | None = None, ended: bool = True):
    """Let a runner say all this after a job was handed over; the outcome, and how often it started."""
    source, sink, starts = asyncio.StreamReader(), Sink(), []
    talking = Dialogue(source, sink)
    mark = talking._nonce if nonce is None else nonce
    for item in told:
        source.feed_data(item if isinstance(item, bytes) else frames.pack(item[0], mark, item[1]))
    if ended:
        source.feed_eof()
    await talking.hold(JOB, {"uid": 1}, lambda: starts.append(1))
    return talking.outcome, len(starts), sink


async def test_a_job_goes_over_in_one_frame_and_the_nonce_after_it():
    outcome, starts, sink = await talk((Kind.STARTED, b""), (Kind.STDOUT, b"ab"), (Kind.RESULT, json.dumps(EVIDENCE).encode()))
    kind, size, nonce = frames.HEADER.unpack_from(sink.data)
    (head,) = struct.unpack_from("<I", sink.data, frames.HEADER.size)
    header = json.loads(sink.data[frames.HEADER.size + 4 :][:head])
    assert (kind, nonce, header) == (1, bytes(16), {"uid": 1, "parts": [["program", "", 7], ["file", "a", 1]]})
    assert sink.data[frames.HEADER.size + 4 + head :][:8] == b"print()x"
    assert frames.HEADER.unpack_from(sink.data, frames.HEADER.size + size)[0] == Kind.GO
    assert (bytes(outcome.stdout), starts, outcome.evidence.wall_ms) == (b"ab", 1, 1.5)


async def test_no_more_is_kept_than_the_limit():
    outcome, _, _ = await talk((Kind.STARTED, b""), *[(Kind.STDOUT, b"abc")] * 9, (Kind.RESULT, json.dumps(EVIDENCE).encode()))
    assert bytes(outcome.stdout) == b"abca"


@pytest.mark.parametrize(
    "told",
    [
        [],
        [(Kind.STARTED, b"")],
        [(Kind.STARTED, b""), (Kind.RESULT, b"{}")],
        [(Kind.STARTED, b""), (Kind.RESULT, b"\xff")],
        [(Kind.STARTED, b""), (Kind.RESULT, json.dumps({**EVIDENCE, "wait_status": True}).encode())],
        [(Kind.STARTED, b""), (Kind.HELLO, b"")],
        [(Kind.STARTED, b""), (Kind.CALL, b"")],
        [b"\xff" * 64],
        [frames.HEADER.pack(18, 2**31, bytes(16))],
        [b"\x12"],
    ],
)  # fmt: skip
async def test_what_no_runner_says_breaks_the_stream(told):
    with pytest.raises(BrokenStream):
        await talk(*told)


async def test_a_result_without_the_nonce_is_no_result():
    with pytest.raises(BrokenStream, match="nonce"):
        await talk((Kind.STARTED, b""), (Kind.RESULT, json.dumps(EVIDENCE).encode()), nonce=bytes(16))


async def test_a_refusal_before_the_start_is_told_as_such():
    outcome, starts, _ = await talk((Kind.RESULT, b'{"refused": "No space left on device"}'))
    assert (outcome.loss, starts, "No space" in outcome.detail) == ("refused", 0, True)


@pytest.mark.parametrize("first", [(Kind.STARTED, b""), (Kind.HELLO, b"[]"), (Kind.HELLO, b"\0")])
async def test_a_first_word_that_makes_no_sense_is_refused(first):
    source = asyncio.StreamReader()
    source.feed_data(frames.pack(*[first[0], bytes(16), first[1]]))
    with pytest.raises(BrokenStream):
        await dialogue.greet(source)


def test_both_sides_have_the_same_frames():
    """The runner stands alone in its image, so its table is a copy; it must be the same."""
    spec = importlib.util.spec_from_file_location("runner_frames", RUNNER)
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    assert {kind.name: kind.value for kind in Kind} == {k: v for k, v in vars(runner).items() if k in Kind.__members__}
    assert (runner.HEADER.format, runner.NO_NONCE) == (frames.HEADER.format, frames.NO_NONCE)
