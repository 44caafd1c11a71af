"""Live sessions: workers whose Python stays between pieces of code, until it ends, is ended, or nobody uses it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orchestrator.contracts.errors import Gone, Invalid, TooMany, Unavailable
from orchestrator.contracts.executions import Limits
from orchestrator.sandbox import rules
from orchestrator.sandbox.backends.port import Worker
from orchestrator.sandbox.jobs import RawOutcome, WorkerClass
from orchestrator.sandbox.pool import Pool

FIGURES = "figure-{number}-*.png"
"""Under which names the runner saves the figures that a piece left open."""


@dataclass(eq=False, slots=True)
class LiveSession:
    """One session: its worker, the limits that hold for all of it, how many pieces it began, and who waits for it."""

    id: str
    worker: Worker
    profile: str
    limits: Limits
    ttl_s: float
    pieces: int = 0
    ended: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def figures(self) -> str:
        """The glob of the next piece's figures."""
        return FIGURES.format(number=self.pieces + 1)


class LiveSessions:
    """All sessions of this process. `on_ended(id, reason)` is told of each end, whatever brought it about."""

    def __init__(self, pool: Pool, most: int) -> None:
        self._pool = pool
        self._most = most
        self._live: dict[str, LiveSession] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._opening = 0
        self.on_ended: Callable[[str, str], None] = lambda _id, _reason: None

    async def open(self, session_id: str, profile: str, kind: WorkerClass, limits: Limits, ttl_s: float) -> None:
        """Take a fresh worker for a session. Raises `TooMany` or `Unavailable`."""
        if len(self._live) + self._opening >= self._most:
            raise TooMany(f"there are {self._most} sessions already (sandbox.sessions); end one", retry_after_s=30)
        self._opening += 1
        try:
            worker, _ = await self._pool.take(kind)
        finally:
            self._opening -= 1
        self._live[session_id] = LiveSession(session_id, worker, profile, limits, ttl_s)
        self.touch(session_id)

    def get(self, session_id: str) -> LiveSession:
        """A session that lives. Raises `Gone`."""
        session = self._live.get(session_id)
        if session is None:
            raise Gone("the session has ended")
        return session

    def touch(self, session_id: str) -> None:
        """It was used just now: it stays for another time of its own."""
        session = self._live[session_id]
        if (timer := self._timers.pop(session_id, None)) is not None:
            timer.cancel()
        why = f"Nobody used it for {session.ttl_s:g} s."
        self._timers[session_id] = asyncio.get_running_loop().call_later(session.ttl_s, self._expire, session_id, why)

    def settle(self, session: LiveSession, raw: RawOutcome) -> None:
        """After a piece: the session goes on, unless its process is gone or in doubt."""
        if session.id not in self._live:
            return
        session.pieces += raw.started
        if raw.evidence is not None and raw.evidence.alive:
            self.touch(session.id)
        elif raw.started or raw.loss in ("died", "silent", "oom"):
            self.end(session.id, "Its process ended with the last piece, or had to be ended.")

    def end(self, session_id: str, reason: str) -> bool:
        """End a session and have all that it had removed; whether it lived."""
        session = self._live.pop(session_id, None)
        if session is None:
            return False
        self._timers.pop(session_id).cancel()
        session.ended = True
        self._pool.dispose(session.worker)
        self.on_ended(session_id, reason)
        return True

    def end_all(self, reason: str) -> None:
        """End every session."""
        for session_id in list(self._live):
            self.end(session_id, reason)

    def state(self, session_id: str) -> tuple[bool, int, float] | None:
        """Whether it runs a piece, how many it began, seconds until it ends unused; None if it has ended."""
        session = self._live.get(session_id)
        if session is None:
            return None
        left_s = self._timers[session_id].when() - asyncio.get_running_loop().time()
        return session.turn.locked(), session.pieces, max(0.0, left_s)

    def limits(self, session_id: str) -> dict[str, int]:
        """The limits that hold for all of it. Raises `Gone`."""
        return self.get(session_id).limits.model_dump()

    async def files(self, session_id: str) -> list[tuple[str, int]]:
        """Paths and sizes of its plain files, but for those whose names are no text. Raises `Gone` or `Unavailable`."""
        async with self._at_rest(session_id) as worker:
            found = await worker.list_files()
        plain = sorted((entry for entry in found if entry.kind == b"file"), key=lambda entry: entry.path)
        return [(path, e.size) for e in plain if (path := e.path.decode(errors="replace")).encode() == e.path]

    async def read_file(self, session_id: str, path: str) -> bytes | None:
        """A file's content; None if there is no such file. Raises `Gone` or `Unavailable`."""
        sizes = dict(await self.files(session_id))
        if path not in sizes:
            return None
        async with self._at_rest(session_id) as worker:
            return await worker.read_file(path, sizes[path])

    async def write_file(self, session_id: str, path: str, data: bytes) -> None:
        """Put a file there, in place of one of that name. Raises `Invalid`, `Gone` or `Unavailable`."""
        if faults := list(rules.paths((), [path])):
            raise rules.refusal(faults)
        async with self._at_rest(session_id) as worker:
            if (why := await worker.write_file(path, data)) is not None:
                raise Invalid(f"the file could not be written: {why}")

    @asynccontextmanager
    async def _at_rest(self, session_id: str) -> AsyncIterator[Worker]:
        """The worker of a session between two of its pieces; one that does not answer is the session's end."""
        session = self.get(session_id)
        async with session.turn:
            worker = self.get(session_id).worker
            try:
                yield worker
            except Unavailable as fault:
                self.end(session_id, f"Its container was lost: {fault.detail}.")
                raise
            self.touch(session_id)

    def _expire(self, session_id: str, reason: str) -> None:
        if self._live[session_id].turn.locked():
            self.touch(session_id)  # a piece runs just now
        else:
            self.end(session_id, reason)
