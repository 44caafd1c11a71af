"""What the runner and the host say to each other: frames over the container's own stdin and stdout.

A frame is a kind (1 byte), the length of its payload (4 bytes, little endian), a nonce (16 bytes) and the payload. A
job's payload is a row of parts, each a role (1 byte), the lengths of its name (2) and content (4), name and content.
The host's room `sandbox` has the same tables in `frames.py`, and a test compares the two.
"""

from __future__ import annotations

import os
import struct

HEADER = struct.Struct("<BI16s")
PART = struct.Struct("<BHI")
NO_NONCE = bytes(16)
CHUNK = 65_536

JOB, CANCEL, LIST, READ, WRITE, WIPE = range(1, 7)  # from the host
HELLO, STARTED, STDOUT, STDERR, RESULT, REFUSED, ENTRIES, CONTENT, VALUE = range(16, 25)  # from the runner
CALL, REPLY = 32, 33  # reserved: calls from the job to the host

LIMIT, ARG, ENV, COMMAND, SESSION, PROGRAM, STDIN, FILE = range(1, 9)  # the roles of parts


class HostGone(Exception):
    """The host closed the stream: nobody waits for an answer any more."""


class Intake:
    """One frame from the host, taken piece by piece: what is not wanted yet stays in the kernel."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._left = HEADER.size
        self.kind, size, self.nonce = HEADER.unpack(self.exactly(HEADER.size))
        self._left = size

    @property
    def left(self) -> int:
        """How many bytes of the payload were not taken yet."""
        return self._left

    def exactly(self, size: int) -> bytes:
        """The next `size` bytes."""
        data = bytearray()
        while len(data) < size:
            data += self.some(size - len(data))
        return bytes(data)

    def some(self, most: int) -> bytes:
        """Up to `most` bytes, at least one."""
        data = os.read(self._fd, min(most, self._left, CHUNK))
        if not data:
            raise HostGone
        self._left -= len(data)
        return data

    def part(self) -> tuple[int, bytes, int]:
        """The next part's role and name, and how many bytes of content follow."""
        role, name, size = PART.unpack(self.exactly(PART.size))
        return role, self.exactly(name), size

    def skip(self) -> None:
        """Take the rest and forget it."""
        while self._left:
            self.some(self._left)


def write(fd: int, kind: int, nonce: bytes, payload: bytes = b"") -> None:
    """Send one frame, waiting as long as the host takes to read it."""
    data = memoryview(HEADER.pack(kind, len(payload), nonce) + payload)
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BrokenPipeError:
            raise HostGone from None


def lines(facts: dict[str, object]) -> bytes:
    """Facts as lines `name=value`, those that are None left out."""
    return "".join(f"{name}={value}\n" for name, value in facts.items() if value is not None).encode()
