"""One worker as processes of this machine: `bwrap`, which waits outside, and the runner behind it, as one stream.

The runner is process 1 of a process namespace. The kernel lets such a process go only when every other one in it is
gone, so its end proves the end of all that a job started. When the daemon is killed, `bwrap` is killed with it; the
runner, which changes its ids and is spared for that, ends because its stream does.
"""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from orchestrator.sandbox.frames import BrokenStream

_TAIL_BYTES = 2_000
_BUFFER_BYTES = 256 * 1024
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

Command = Callable[[int, int], list[str]]
"""The command line, from the descriptors of the filter and of the facts that `bwrap` tells."""


class Process:
    """`bwrap` and what is behind it. Its methods are a worker's stream."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        errors: int,
        facts: int,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._errors = errors
        self._facts = facts
        self._said = b""
        self._inner: int | None = None

    @property
    def ended(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    @property
    def stderr_tail(self) -> bytes:
        """The end of what the runner, or `bwrap` itself, said beside the stream."""
        with suppress(BlockingIOError):
            while data := os.read(self._errors, 65_536):
                self._said = (self._said + data)[-_TAIL_BYTES:]
        return self._said

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    async def readexactly(self, n: int) -> bytes:
        return await self._reader.readexactly(n)

    def close(self) -> None:
        """Hang up; the runner ends by that alone."""
        self._writer.transport.abort()

    def find_inner(self) -> int:
        """Take hold of the runner, whom only `bwrap` knows. Raises `BrokenStream` where it did not say who that is."""
        if self._inner is None:
            try:
                self._inner = os.pidfd_open(json.loads(os.read(self._facts, 4096))["child-pid"])
            except (OSError, ValueError, KeyError) as fault:
                raise BrokenStream("bwrap did not tell its child") from fault
        return self._inner

    async def end(self) -> None:
        """Kill it, and return when nothing of it lives. May be called again."""
        with suppress(ProcessLookupError):
            try:
                signal.pidfd_send_signal(self.find_inner(), signal.SIGKILL)
            except BrokenStream:
                self._process.kill()  # it has no child yet
        await self._process.wait()  # it ends when its child has
        if self._inner is not None:
            await _readable(self._inner)

    def let_go(self) -> None:
        """Close what is still open of it; the last call."""
        self.close()
        for fd in (self._errors, self._facts, self._inner):
            if fd is not None:
                os.close(fd)


async def start(command: Command, program: bytes) -> Process:
    """Start a worker's processes; `program` is the system call filter. Raises `OSError`."""
    ours, theirs = socket.socketpair()
    errors, said = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)  # whoever says too much there is not waited for
    facts, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    filter_fd = _filled(program)
    try:
        process = await asyncio.create_subprocess_exec(
            *command(filter_fd, told), stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=said, cwd="/",
            env=_ENVIRONMENT, pass_fds=(filter_fd, told),
        )  # fmt: skip
    except BaseException:
        ours.close()
        os.close(errors)
        os.close(facts)
        raise
    finally:
        theirs.close()
        for fd in (said, told, filter_fd):
            os.close(fd)
    reader, writer = await asyncio.open_connection(sock=ours, limit=_BUFFER_BYTES)
    return Process(process, reader, writer, errors, facts)


def _filled(content: bytes) -> int:
    """A descriptor that reads as this content."""
    fd = os.memfd_create("filter", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def _readable(fd: int) -> None:
    """Wait until a descriptor has something to tell; that of a process, that it has ended."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, told.set)
    try:
        await told.wait()
    finally:
        asyncio.get_running_loop().remove_reader(fd)
