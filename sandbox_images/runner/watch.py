"""The parent's side: watch one job, end it where a limit says so, and prove that nothing of it is left.

One `poll` waits for everything: output, the end of a child, a word of the host, the next deadline. The processor time
of all processes together is looked at when it could at the earliest be used up, not in a tight loop.
"""

from __future__ import annotations

import _signal
import os
import select
import time

import frames
import place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from counters import Counters

FLOOD_BYTES = 8 * 2**20
"""How far past its limit a stream may run, read and thrown away, before the job is ended for it."""
MOST_SAID = 128 * 2**10
_SHORTEST_LOOK_S = 0.002
_MOST_REST_S = 2.0


class Stream:
    """One of the job's two output streams: its name, its kind of frame, what may be kept, what came."""

    def __init__(self, name: str, kind: int, limit: int) -> None:
        self.name = name
        self.kind = kind
        self.limit = limit
        self.total = 0


class Watch:
    """Watches from the moment a job is let go until its last process is gone."""

    def __init__(
        self, leader: int, limits: dict[str, int], milli_cpus: int, counters: Counters,
        outbox: frames.Outbox, wake: int,
    ) -> None:  # fmt: skip
        self._leader = leader
        self._limits = limits
        self._milli_cpus = milli_cpus
        self._counters = counters
        self._outbox = outbox
        self._wake = wake
        self._streams: list[Stream] = []
        self._open: dict[int, Stream] = {}
        self._poll = select.poll()
        self._done: int | None = None
        self._word = bytearray()
        self._status: int | None = None
        self._largest_child = 0
        self._ended_by: str | None = None
        self._began = self._ended = 0.0
        self._next_look = 0.0
        self._before = self._counts()
        self._peak_before = counters.peak_bytes() or 0

    def add_output(self, fd: int, name: str, kind: int) -> None:
        """Read the job's output `name` from `fd`, to its end."""
        os.set_blocking(fd, False)
        self._open[fd] = Stream(name, kind, self._limits[f"{name}_bytes"])
        self._streams.append(self._open[fd])
        self._poll.register(fd, select.POLLIN)

    def add_word(self, fd: int) -> None:
        """Listen for a session's own word that its piece has ended."""
        os.set_blocking(fd, False)
        self._done = fd
        self._poll.register(fd, select.POLLIN)

    @property
    def said(self) -> bytes | None:
        """That word: an exit code, whether there is a value, the value. The job's own, so it proves nothing."""
        if len(self._word) < frames.HEADER.size:
            return None
        _, size, _ = frames.HEADER.unpack_from(self._word)
        whole = frames.HEADER.size + min(max(size, 2), MOST_SAID)
        return bytes(self._word[frames.HEADER.size : whole]) if len(self._word) >= whole else None

    def until_end(self) -> dict[str, object]:
        """Wait for the job's end or bring it about; the evidence, for the host to judge."""
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(0, select.POLLIN)
        self._began = self._next_look = time.monotonic()
        self._check_time()
        while self._status is None and self._ended_by is None and self.said is None:
            for fd, _ in self._poll.poll(self._patience_ms()):
                self._attend(fd)
            self._reap(os.WNOHANG)
            self._check_time()
        alive = self.said is not None and self._status is None and self._ended_by is None and self._rest()
        survivors = not alive and self._kill_all()
        for fd in list(self._open):
            while self._read(fd):
                pass  # all that is there: nobody who runs holds the other side any more
        return self._evidence(alive, survivors)

    def _kill_all(self) -> bool:
        """Kill every process but this one and reap them; whether any is left, which must not be.

        The kernel holds off forks while it signals all, so one round is enough; and when no child is left there is no
        process either, since whoever loses its parent becomes a child of process 1.
        """
        _signal_all(_signal.SIGKILL)
        self._reap(0)
        return _signal_all(0)

    def _rest(self) -> bool:
        """Stop a session's process until its next piece, and kill all others; whether it is at rest, and alone."""
        os.kill(self._leader, _signal.SIGSTOP)
        _, status = os.waitpid(self._leader, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._status, self._ended = status, time.monotonic()
            return False
        self._ended = time.monotonic()
        while others := _others(self._leader):
            if time.monotonic() > self._ended + _MOST_REST_S:
                return False
            for pid in others:
                _kill(pid)
            self._reap(os.WNOHANG)
        return True

    def _attend(self, fd: int) -> None:
        if fd == self._wake:
            os.read(fd, 4096)
        elif fd == self._done:
            self._hear(fd)
        elif fd == 0:
            word = frames.Intake(0)
            if word.kind == frames.CANCEL:  # by its client, or for a limit that the host watches
                self._end(word.exactly(word.left).decode() or "cancel")
        else:
            self._read(fd)

    def _hear(self, fd: int) -> None:
        data = os.read(fd, frames.CHUNK)
        self._word += data[: frames.HEADER.size + MOST_SAID - len(self._word)]
        if not data:
            self._poll.unregister(fd)

    def _read(self, fd: int) -> bool:
        """Take what is there of one output, keep what may be kept; whether more may be there."""
        stream = self._open[fd]
        try:
            data = os.read(fd, frames.CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._poll.unregister(fd)
            del self._open[fd]
            return False
        keep = data[: max(0, stream.limit - stream.total)]
        stream.total += len(data)
        if keep:
            self._outbox.put(stream.kind, keep)
        if stream.total > stream.limit + FLOOD_BYTES:
            self._end(f"{stream.name}_bytes")
        return True

    def _reap(self, flags: int) -> None:
        """Collect children that ended; with no flags, until none is left."""
        while True:
            try:
                pid, status, used = os.wait4(-1, flags)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._largest_child = max(self._largest_child, used.ru_maxrss * 1024)
            if pid == self._leader:
                self._status, self._ended = status, time.monotonic()

    def _check_time(self) -> None:
        now = time.monotonic()
        if now >= self._outbox.due:
            self._outbox.flush()
        if now >= self._wall_deadline:
            self._end("wall_ms")
        elif now >= self._next_look:
            left_s = self._limits["cpu_ms"] / 1e3 - (self._counters.cpu_ns() - self._before[0]) / 1e9
            if left_s <= 0:
                self._end("cpu_ms")
            self._next_look = now + max(left_s * 1e3 / self._milli_cpus, _SHORTEST_LOOK_S)

    @property
    def _wall_deadline(self) -> float:
        return self._began + self._limits["wall_ms"] / 1e3

    def _patience_ms(self) -> float:
        return max(0.0, (min(self._wall_deadline, self._next_look, self._outbox.due) - time.monotonic()) * 1e3)

    def _end(self, cause: str) -> None:
        if self._ended_by is None and self._status is None:
            self._ended_by = cause

    def _counts(self) -> tuple[int, int, int]:
        kernel = self._counters
        return kernel.cpu_ns(), kernel.oom_kills() or 0, kernel.pids_refused() or 0

    def _peak_bytes(self) -> int:
        """The container's highest charge if this job raised it; else the largest of its processes that is known."""
        peak = self._counters.peak_bytes()
        if peak is None:
            return self._largest_child
        return peak if peak > self._peak_before else min(peak, self._largest_child)

    def _evidence(self, alive: bool, survivors: bool) -> dict[str, object]:
        cpu_ns, oom_kills, pids_refused = (now - then for now, then in zip(self._counts(), self._before, strict=True))
        disk_free, inodes_free = place.free()
        return {
            "ended_by": self._ended_by,
            "wait_status": (self.said or b"\0")[0] << 8 if alive else self._status,
            "alive": int(alive),
            "survivors": int(survivors),
            "wall_ms": (self._ended - self._began) * 1e3,
            "cpu_ms": cpu_ns / 1e6,
            "peak_memory_bytes": self._peak_bytes(),
            "oom_kills": oom_kills,
            "pids_refused": pids_refused,
            "disk_free_bytes": disk_free,
            "inodes_free": inodes_free,
            **{f"{stream.name}_bytes": stream.total for stream in self._streams},
        }


def _signal_all(number: int) -> bool:
    """Signal every process but this one; whether there was one."""
    try:
        os.kill(-1, number)
    except ProcessLookupError:
        return False
    return True


def _others(leader: int) -> list[int]:
    """Processes beside this one and a session's, but for those that are dead and only not reaped."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if pid not in (1, leader) and _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.read(fd, 512).rpartition(b") ")[2][:1] not in (b"Z", b"X", b"")
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, _signal.SIGKILL)
    except ProcessLookupError:
        return
