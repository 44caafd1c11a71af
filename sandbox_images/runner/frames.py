"""What the runner and the host say to each other: frames over the container's own stdin and stdout.

A frame is a kind (1 byte), the length of its payload (4 bytes, little endian), a nonce (16 bytes) and the payload. The
host's room `sandbox` has the same table in `frames.py`, and a test compares the two.
"""

import os
import struct

HEADER = struct.Struct("<BI16s")
NO_NONCE = bytes(16)
CHUNK = 65_536

JOB, GO, CANCEL = 1, 2, 3  # from the host
HELLO, STARTED, STDOUT, STDERR, RESULT = 16, 17, 18, 19, 20  # from the runner
CALL, REPLY = 32, 33  # reserved: calls from the job to the host


class HostGone(Exception):
    """The host closed the stream: nobody waits for an answer any more."""


def read_exactly(fd: int, size: int) -> bytearray:
    """Read `size` bytes and not one more, so that what follows stays in the kernel until it is wanted."""
    data = bytearray(size)
    view = memoryview(data)
    done = 0
    while done < size:
        count = os.readv(fd, [view[done:]])
        if count == 0:
            raise HostGone
        done += count
    return data


def read_frame(fd: int) -> tuple[int, bytes, bytearray]:
    """The next frame from the host: kind, nonce, payload."""
    kind, size, nonce = HEADER.unpack(read_exactly(fd, HEADER.size))
    return kind, nonce, read_exactly(fd, size)


class Intake:
    """The rest of a frame that is too large to be held twice: taken piece by piece, straight to where it belongs."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._left = size

    def take(self, size: int) -> bytes:
        """Up to `size` bytes, at least one."""
        data = os.read(self._fd, min(size, self._left, CHUNK))
        if not data:
            raise HostGone
        self._left -= len(data)
        return data

    def skip(self) -> None:
        """Read the rest and forget it."""
        while self._left:
            self.take(self._left)


def write_frame(fd: int, kind: int, nonce: bytes, payload: bytes = b"") -> None:
    """Send one frame, waiting as long as the host takes to read it."""
    data = memoryview(HEADER.pack(kind, len(payload), nonce) + payload)
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BrokenPipeError:
            raise HostGone from None
