"""The talk with a runner: what carries no nonce, no sense or no end is not believed (ABUSE "Output")."""

import asyncio
import importlib.util
from pathlib import Path

import pytest

from orchestrator.contracts.executions import Limits
from orchestrator.sandbox import dialogue, frames
from orchestrator.sandbox.dialogue import Dialogue
from orchestrator.sandbox.frames import BrokenStream, Kind, Role
from orchestrator.sandbox.jobs import Job, Wanted

RUNNER = Path(__file__).parents[2] / "sandbox_images" / "runner" / "frames.py"
PARTS = [(Role.PROGRAM, "main.py", b"print()"), (Role.FILE, "a", b"x")]
JOB = Job("id", Limits(stdout_bytes=4), ["-v"], {"A": "1"}, PARTS, ["/bin/sh"], wanted=Wanted(["*"], 9, 100))
EVIDENCE = {
    "wait_status": 0, "alive": 0, "survivors": 0, "wall_ms": 1.5, "cpu_ms": 1, "peak_memory_bytes": 1, "oom_kills": 0,
    "pids_refused": 0, "disk_free_bytes": 9999, "inodes_free": 9, "stdout_bytes": 6, "stderr_bytes": 0,
}  # fmt: skip


def lines(facts: dict[str, object]) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in facts.items()).encode()


STARTED, RESULT = (Kind.STARTED, b""), (Kind.RESULT, lines(EVIDENCE))


class Sink:
    """Takes what the host writes."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        return


class Watcher:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def started(self) -> None:
        self.told.append("started")

    def output(self, name: str, data: bytes) -> None:
        self.told.append((name, data))


async def talk(*told: tuple[Kind, bytes] | bytes, nonce: bytes | None = None):
    """Let a runner say all this after a job was handed over; the dialogue, what its watcher saw, what the host said."""
    source, sink, watcher = asyncio.StreamReader(), Sink(), Watcher()
    talking = Dialogue(source, sink, JOB, watcher)
    mark = talking._talk.nonce if nonce is None else nonce
    for item in told:
        source.feed_data(item if isinstance(item, bytes) else frames.pack(item[0], mark, item[1]))
    source.feed_eof()
    await talking.hold()
    return talking, watcher.told, sink


def parts_of(payload: bytes) -> list[tuple[int, bytes, bytes]]:
    found = []
    while payload:
        role, named, size = frames.PART.unpack_from(payload)
        body = payload[frames.PART.size :]
        found.append((role, body[:named], body[named : named + size]))
        payload = body[named + size :]
    return found


async def test_a_job_goes_over_in_one_frame_that_carries_its_nonce():
    talking, told, sink = await talk(STARTED, (Kind.STDOUT, b"ab"), RESULT)
    kind, size, nonce = frames.HEADER.unpack_from(sink.data)
    parts = parts_of(sink.data[frames.HEADER.size :])
    assert (kind, size, nonce) == (Kind.JOB, len(sink.data) - frames.HEADER.size, talking._talk.nonce)
    (role, _, packed), *others = parts
    brief = parts_of(packed)
    assert (role, others) == (9, [(6, b"main.py", b"print()"), (8, b"a", b"x")])
    assert brief[-3:] == [(3, b"A", b"1"), (4, b"", b"/bin/sh"), (2, b"", b"-v")]
    assert (1, b"stdout_bytes", b"4") in brief
    assert (told, talking.outcome.evidence.wall_ms) == (["started", ("stdout", b"ab")], 1.5)


async def test_no_more_is_kept_than_the_limit():
    talking, told, _ = await talk(STARTED, *[(Kind.STDOUT, b"abc")] * 9, RESULT)
    assert (bytes(talking.outcome.stdout), told) == (b"abca", ["started", ("stdout", b"abc"), ("stdout", b"a")])


@pytest.mark.parametrize(
    "told",
    [
        [],
        [STARTED],
        [RESULT],
        [STARTED, STARTED],
        [(Kind.STDOUT, b"early"), STARTED, RESULT],
        [STARTED, (Kind.REFUSED, b"too late")],
        [STARTED, (Kind.RESULT, b"")],
        [STARTED, (Kind.RESULT, b"\xff")],
        [STARTED, (Kind.RESULT, b"no equals sign")],
        [STARTED, (Kind.RESULT, lines({**EVIDENCE, "wait_status": -1}))],
        [STARTED, (Kind.RESULT, lines({**EVIDENCE, "cpu_ms": "nan"}))],
        [STARTED, (Kind.RESULT, lines({**EVIDENCE, "ended_by": "itself"}))],
        [STARTED, (Kind.RESULT, lines({**EVIDENCE, "more": 1}))],
        [STARTED, (Kind.HELLO, b"")],
        [STARTED, (Kind.CALL, b"")],
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
        await talk(STARTED, RESULT, nonce=bytes(16))


async def test_a_refusal_before_the_start_is_told_as_such():
    talking, told, _ = await talk((Kind.REFUSED, b"No space left on device"))
    assert (talking.outcome.loss, told, talking.outcome.detail) == ("refused", [], "No space left on device")


LISTING = b"file\x003\x00a.txt\x00symlink\x009\x00link\x00file\x002\x00b.txt\x00"


async def gathered(*told: tuple[Kind, bytes]):
    source, sink = asyncio.StreamReader(), Sink()
    talking = Dialogue(source, sink, JOB, Watcher())
    for kind, payload in (STARTED, RESULT, *told):
        source.feed_data(frames.pack(kind, talking._talk.nonce, payload))
    source.feed_eof()
    await talking.hold()
    await talking.gather()
    return talking.outcome


async def test_artifacts_are_chosen_from_the_listing_and_fetched_one_by_one():
    """CONTRACT 4: a file that cannot be read is told as skipped, not as empty."""
    end = (Kind.ENTRIES, b""), (Kind.CONTENT, b"")
    outcome = await gathered(
        (Kind.ENTRIES, LISTING), end[0], (Kind.CONTENT, b"ab"), (Kind.CONTENT, b"c"), end[1], end[1]
    )
    assert outcome.artifacts == {"a.txt": b"abc"}
    assert outcome.artifacts_skipped == [("link", "symlink"), ("b.txt", "unreadable")]


@pytest.mark.parametrize(
    "told",
    [
        [(Kind.ENTRIES, LISTING)],
        [(Kind.ENTRIES, LISTING[:-1])],
        [(Kind.ENTRIES, b"file\x00-1\x00a\x00")],
        [(Kind.ENTRIES, b"door\x001\x00a\x00")],
        [(Kind.ENTRIES, LISTING), (Kind.ENTRIES, b""), (Kind.CONTENT, b"more than three")],
        [(Kind.ENTRIES, LISTING), (Kind.ENTRIES, b""), (Kind.ENTRIES, b"")],
        [RESULT],
    ],
)  # fmt: skip
async def test_files_that_no_runner_tells_of_break_the_stream(told):
    with pytest.raises(BrokenStream):
        await gathered(*told)


@pytest.mark.parametrize("first", [(Kind.STARTED, b""), (Kind.HELLO, b"version=x\n"), (Kind.HELLO, b"\0")])
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
    table = vars(runner)
    assert {name: table[name] for name in Kind.__members__} == {kind.name: kind.value for kind in Kind}
    assert {name: table[name] for name in Role.__members__} == {role.name: role.value for role in Role}
    assert (runner.HEADER.format, runner.PART.format, runner.NO_NONCE) == (
        frames.HEADER.format, frames.PART.format, frames.NO_NONCE,
    )  # fmt: skip
