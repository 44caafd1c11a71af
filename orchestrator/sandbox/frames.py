"""What the host and the runner say to each other; the runner's side is `sandbox_images/runner/frames.py`.

A frame is a kind (1 byte), the length of its payload (4 bytes, little endian), a nonce (16 bytes) and the payload.
Everything that comes from a container is untrusted: sizes are bounded before they are believed.
"""

import asyncio
import json
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Protocol

HEADER = struct.Struct("<BI16s")
NO_NONCE = bytes(16)
MAX_PAYLOAD_BYTES = 2**20
"""More than any frame that a runner sends; a larger one is a broken or a forged stream."""


class Kind(IntEnum):
    """All kinds of frames, both ways; CALL and REPLY are reserved for calls from the job to the host."""

    JOB = 1
    GO = 2
    CANCEL = 3
    HELLO = 16
    STARTED = 17
    STDOUT = 18
    STDERR = 19
    RESULT = 20
    CALL = 32
    REPLY = 33


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


def pack_job(header: dict[str, Any], parts: Sequence[tuple[str, str, bytes]]) -> bytes:
    """The frame of a job: a JSON header with the list of its parts (role, path, size), then the parts' bytes."""
    listed = [(role, path, len(content)) for role, path, content in parts]
    head = json.dumps({**header, "parts": listed}).encode()
    return pack(Kind.JOB, payload=b"".join([struct.pack("<I", len(head)), head, *(part[2] for part in parts)]))


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
