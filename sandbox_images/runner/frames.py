"""What the runner and the host say to each other: frames over the container's own stdin and stdout.

A frame is a kind (1 byte), the length of its payload (4 bytes, little endian), a nonce (16 bytes) and the payload. A
job's payload is a row of parts, each a role (1 byte), the lengths of its name (2) and content (4), name and content.
The first part is the brief, a row of parts itself: all but the job's program, input and files.
The host's room `sandbox` has the same tables in `frames.py`, and a test compares the two.
"""

from __future__ import annotations

import os
import struct
import time

HEADER = struct.Struct("<BI16s")
PART = struct.Struct("<BHI")
NO_NONCE = bytes(16)
CHUNK = 65_536
NEVER = float("inf")

JOB, CANCEL, LIST, READ, WRITE, WIPE = range(1, 7)  # from the host
HELLO, STARTED, STDOUT, STDERR, RESULT, REFUSED, ENTRIES, CONTENT, VALUE = range(16, 25)  # from the runner
CALL, REPLY = 32, 33  # reserved: calls from the job to the host

LIMIT, ARG, ENV, COMMAND, SESSION, PROGRAM, STDIN, FILE, BRIEF = range(1, 10)  # the roles of parts


class HostGone(Exception):
    """The host closed the stream: nobody waits for an answer any more."""


class Intake:
    """One frame from the host, read in pieces of at most a chunk: what is far ahead stays in the kernel."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._unread = HEADER.size
        self._held = memoryview(b"")
        self.kind, size, self.nonce = HEADER.unpack(self.exactly(HEADER.size))
        self._unread = size

    @property
    def left(self) -> int:
        """How many bytes of the payload were not taken yet."""
        return self._unread + len(self._held)

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        data = bytearray()
        while len(data) < size:
            data += self.some(size - len(data))
        return bytes(data)

    def some(self, most: int) -> memoryview:
        """Up to `most` bytes, at least one."""
        if not self._held:
            self._held = memoryview(os.read(self._fd, min(self._unread, CHUNK)))
            if not self._held:
                raise HostGone
            self._unread -= len(self._held)
        data, self._held = self._held[:most], self._held[most:]
        return data

    def part(self) -> tuple[int, bytes, int]:
        """The next part's role and name, and how many bytes of content follow."""
        role, name, size = PART.unpack(self.exactly(PART.size))
        return role, self.exactly(name), size

    def skip(self) -> None:
        """Take the rest and forget it."""
        while self.left:
            self.some(self.left)


class Outbox:
    """Frames for the host, those of one moment in one write: each write wakes everybody on the way there."""

    HOLD_S = 0.002

    def __init__(self, fd: int, nonce: bytes) -> None:
        self._fd = fd
        self._nonce = nonce
        self._held = bytearray()
        self.due = NEVER

    def put(self, kind: int, payload: bytes = b"") -> None:
        """Have a frame sent, soon."""
        if not self._held:
            self.due = time.monotonic() + self.HOLD_S
        self._held += HEADER.pack(kind, len(payload), self._nonce) + payload
        if len(self._held) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Send what is held back, waiting as long as the host takes to read it."""
        held, self._held, self.due = self._held, bytearray(), NEVER
        _send(self._fd, held)


def write(fd: int, kind: int, nonce: bytes, payload: bytes = b"") -> None:
    """Send one frame, waiting as long as the host takes to read it."""
    _send(fd, HEADER.pack(kind, len(payload), nonce) + payload)


def _send(fd: int, frames: bytes | bytearray) -> None:
    data = memoryview(frames)
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BrokenPipeError:
            raise HostGone from None


def lines(facts: dict[str, object]) -> bytes:
    """Facts as lines `name=value`, those that are None left out."""
    return "".join(f"{name}={value}\n" for name, value in facts.items() if value is not None).encode()
