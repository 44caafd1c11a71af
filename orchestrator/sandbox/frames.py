"""What the host and the runner say to each other; the runner's side is `sandbox_images/runner/frames.py`.

A frame is a kind (1 byte), the length of its payload (4 bytes, little endian), a nonce (16 bytes) and the payload. A
job's payload is a row of parts, each a role (1 byte), the lengths of its name (2) and content (4), name and content.
The first part is the brief, a row of parts itself: all but the job's program, input and files.
Everything that comes from a container is untrusted: sizes are bounded before they are believed.
"""

import asyncio
import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import Protocol

HEADER = struct.Struct("<BI16s")
PART = struct.Struct("<BHI")
NO_NONCE = bytes(16)
MAX_PAYLOAD_BYTES = 2**20
"""More than any frame that a runner sends; a larger one is a broken or a forged stream."""


class Kind(IntEnum):
    """All kinds of frames, both ways; CALL and REPLY are reserved for calls from the job to the host."""

    JOB = 1
    CANCEL = 2
    LIST = 3
    READ = 4
    WRITE = 5
    WIPE = 6
    HELLO = 16
    STARTED = 17
    STDOUT = 18
    STDERR = 19
    RESULT = 20
    REFUSED = 21
    ENTRIES = 22
    CONTENT = 23
    VALUE = 24
    CALL = 32
    REPLY = 33


class Role(IntEnum):
    """What one part of a job is."""

    LIMIT = 1
    ARG = 2
    ENV = 3
    COMMAND = 4
    SESSION = 5
    PROGRAM = 6
    STDIN = 7
    FILE = 8
    BRIEF = 9


Part = tuple[Role, str, bytes]
"""A role, a name (of a limit, a variable, a file) and the content."""


class Source(Protocol):
    """Where a runner's bytes come from."""

    async def readexactly(self, n: int) -> bytes:
        """Exactly `n` bytes; raises `asyncio.IncompleteReadError` where the stream ends before."""
        ...


class Sink(Protocol):
    """Where bytes for a runner go."""

    def write(self, data: bytes) -> None:
        """Take `data`, to be sent as the other side reads."""
        ...

    async def drain(self) -> None:
        """Wait until there is room again."""
        ...


class BrokenStream(Exception):
    """The stream ended, or carried what no runner sends."""


def pack(kind: Kind, nonce: bytes = NO_NONCE, payload: bytes = b"") -> bytes:
    """One frame as bytes."""
    return HEADER.pack(kind, len(payload), nonce) + payload


def pack_parts(parts: Iterable[Part]) -> bytes:
    """The payload of a job."""
    packed = []
    for role, name, content in parts:
        named = name.encode()
        packed += [PART.pack(role, len(named), len(content)), named, content]
    return b"".join(packed)


def lines(payload: bytes) -> dict[str, str]:
    """Facts from lines `name=value`. Raises `BrokenStream` where a line is none."""
    try:
        return dict(line.split("=", 1) for line in payload.decode().splitlines())
    except ValueError as fault:
        raise BrokenStream("facts that make no sense") from fault


async def read(stream: Source) -> tuple[Kind, bytes, bytes]:
    """The next frame from a runner: kind, nonce, payload. Raises `BrokenStream`."""
    try:
        code, size, nonce = HEADER.unpack(await stream.readexactly(HEADER.size))
        if size > MAX_PAYLOAD_BYTES:
            raise BrokenStream(f"a frame of {size} bytes")
        return Kind(code), nonce, await stream.readexactly(size)
    except (asyncio.IncompleteReadError, OSError) as fault:
        raise BrokenStream("the container closed its stream") from fault
    except ValueError as fault:
        raise BrokenStream("a frame of no known kind") from fault
