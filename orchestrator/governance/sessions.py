"""Governed sessions: opened on a permit, written down when they open and end, each piece an execution of its own."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy import RowMapping, Select, delete, insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import Gone, Invalid, NotFound
from orchestrator.contracts.executions import ExecutionRequest, LimitsRequest, Progress
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.permits import Permit
from orchestrator.contracts.sessions import PieceRequest, Session, SessionFile, SessionRequest
from orchestrator.governance.commands.admissions import Admissions, stands
from orchestrator.governance.commands.admitted import caller_of
from orchestrator.governance.commands.bases import Basis
from orchestrator.governance.executions import Executions, Running, Withdraw
from orchestrator.governance.grants import EXECUTE, Grants, NoGrant
from orchestrator.governance.halts import Halts
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import sessions

FIXED = ("memory_bytes", "pids", "disk_bytes", "inodes", "open_files")
"""Limits of the whole session, which a piece cannot change."""


class OpenPort(Protocol):
    """The sandbox room, as far as it opens sessions."""

    async def open_session(self, session_id: str, request: SessionRequest, *, permit: Permit) -> None:
        """Open one. Raises `Invalid`, `Unavailable` or `TooMany`."""
        ...


class LivePort(Protocol):
    """The sessions that live. All but the first two raise `Gone` for one that does not."""

    def state(self, session_id: str) -> tuple[bool, int, float] | None:
        """Whether it runs a piece, how many it began, seconds until it ends unused; None if it has ended."""
        ...

    def end(self, session_id: str, reason: str) -> bool:
        """End one; whether it lived."""
        ...

    def end_all(self, reason: str) -> None:
        """End every one."""
        ...

    def limits(self, session_id: str) -> dict[str, int]:
        """The limits that hold for it."""
        ...

    async def files(self, session_id: str) -> list[tuple[str, int]]:
        """Paths and sizes of its plain files. Raises `Unavailable` where it is lost, like the next two."""
        ...

    async def read_file(self, session_id: str, path: str) -> bytes | None:
        """A file's content; None if there is no such file."""
        ...

    async def write_file(self, session_id: str, path: str, data: bytes) -> None:
        """Put a file there. Raises `Invalid` for a path or a size that cannot be."""
        ...


class Sessions:
    """Sessions, open and past."""

    def __init__(
        self, sandbox: OpenPort, live: LivePort, executions: Executions, grants: Grants, halts: Halts, journal: Journal,
        store: Store, clock: Clock, supervisor: Supervisor,
    ) -> None:  # fmt: skip
        self._sandbox = sandbox
        self._live = live
        self._executions = executions
        self._grants = grants
        self._halts = halts
        self._journal = journal
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._writing: set[asyncio.Task[None]] = set()
        self._permits: dict[str, Permit] = {}
        self.admissions: Admissions | None = None
        self.withdraw: Withdraw | None = None

    async def load(self) -> None:
        """Say of sessions that a dead daemon left open that they have ended."""
        query = select(sessions.c.id, sessions.c.owner).where(sessions.c.ended_at.is_(None))
        for row in await self._store.read(lambda tx: tx.execute(query).all()):
            await self._write_end(row.id, row.owner, "The daemon ended.")

    async def close(self) -> None:
        """End all sessions, and wait until that is written down."""
        self._live.end_all("The daemon ended.")
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def stop(self, owner: str) -> None:
        """End all sessions of an identity."""
        live = select(sessions.c.id).where(sessions.c.owner == owner, sessions.c.ended_at.is_(None))
        for session_id in await self._store.read(lambda tx: tx.execute(live).scalars().all()):
            self._live.end(session_id, "The identity was switched off.")

    async def open(self, request: SessionRequest, caller: Caller) -> Session:
        """Open a session for a caller."""
        self._halts.check()
        session_id, created_at, most = new_id(), rfc3339(self._clock.now()), Cost(tokens=1)
        try:
            permit = await self._grants.execution_permit(session_id, caller, "container", most)
        except NoGrant:
            if self.admissions is None:
                raise
            raise await self.admissions.session(session_id, request, caller, most, created_at) from None
        return await self._open(session_id, created_at, request, caller, permit)

    async def perform(self, admission: JsonObject, basis: Basis) -> bytes:
        """Open a session that a person has approved, and the code in it; as JSON. Raises what hinders it."""
        assert self.admissions is not None
        request = SessionRequest.model_validate_json(await self.admissions.request(admission))
        caller, session_id = caller_of(admission), admission["id"]
        earlier = delete(sessions).where(sessions.c.id == session_id)  # of an attempt in which a daemon died
        await self._store.write(lambda tx: tx.execute(earlier) and None)
        permit = self._grants.resting_on(basis, EXECUTE, session_id, caller)
        opened = await self._open(session_id, rfc3339(self._clock.now()), request, caller, permit)
        return opened.model_dump_json().encode()

    async def _open(
        self, session_id: str, created_at: str, request: SessionRequest, caller: Caller, permit: Permit
    ) -> Session:
        await self._sandbox.open_session(session_id, request, permit=permit)
        row = {
            "id": session_id, "owner": caller.owner, "profile": request.profile, "subject": request.subject,
            "ttl_s": request.ttl_s, "created_at": created_at, "reason": "", "permit_id": permit.id,
        }  # fmt: skip
        data = {**row, "approved_by": permit.approved_by, "key_id": caller.key_id}
        entry = Entry("sandbox.session_opened", session_id, caller.owner, "ok", data, caller.owner, permit.basis_id)

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            tx.execute(insert(sessions), row)
            return None, [entry]

        await self._journal.write(work)
        self._permits[session_id] = permit
        return self._view({**row, "ended_at": None})

    async def get(self, session_id: str, caller: Caller) -> Session:
        """One session, ended or not. Raises `NotFound` for another's, too."""
        try:
            return self._view(await self._row(session_id, caller))
        except NotFound:
            command = None if self.admissions is None else await self.admissions.find(session_id, caller)
            if command is None or self.admissions is None:
                raise
            return _waiting(session_id, command, await self.admissions.of(command))

    async def page(self, caller: Caller, *, limit: int, before: str | None, subject: str | None) -> list[Session]:
        """Sessions, newest first."""
        query = select(sessions).order_by(sessions.c.id.desc()).limit(limit)
        if not caller.may(Scope.ADMIN):
            query = query.where(sessions.c.owner == caller.owner)
        if before is not None:
            query = query.where(sessions.c.id < before)
        if subject is not None:
            query = query.where(sessions.c.subject == subject)
        return [self._view(row) for row in await self._rows(query)]

    async def end(self, session_id: str, caller: Caller) -> Session:
        """End a session and forget all that it kept; one that has ended stays as it is."""
        if (await self.get(session_id, caller)).status == "awaiting_approval":
            await self._withdraw(session_id, caller)
        if self._live.end(session_id, "Ended by its client."):
            await asyncio.gather(*self._writing)
        return await self.get(session_id, caller)

    async def _withdraw(self, session_id: str, caller: Caller) -> None:
        command = None if self.admissions is None else await self.admissions.find(session_id, caller)
        if command is not None and self.withdraw is not None:
            await self.withdraw(command["id"], caller.owner, "withdrawn by who asked")

    async def start(
        self, session_id: str, piece: PieceRequest, caller: Caller, listener: Progress | None = None
    ) -> Running:
        """Begin to run a piece. Raises `Gone` where the session has ended, and whatever an execution raises."""
        row = await self._living(session_id, caller)
        fixed = [name for name in FIXED if getattr(piece.limits, name) is not None]
        if fixed:
            raise Invalid(
                f"limits.{fixed[0]}: holds for the whole session; state it when you open one",
                errors=[{"loc": ["limits", name], "msg": "holds for the whole session"} for name in fixed],
            )
        own = self._live.limits(session_id)
        limits = LimitsRequest.model_validate({**own, **piece.limits.model_dump(exclude_none=True)})
        request = ExecutionRequest.model_validate(
            {**piece.model_dump(), "profile": row["profile"], "subject": row["subject"], "limits": limits}
        )
        return await self._executions.start(
            request, caller, listener, session_id=session_id, under=self._permits.get(session_id)
        )

    async def files(self, session_id: str, caller: Caller) -> list[SessionFile]:
        """The plain files in its working directory."""
        await self._living(session_id, caller)
        found = await self._live.files(session_id)
        return [SessionFile(path=path, bytes=size) for path, size in found]

    async def read_file(self, session_id: str, path: str, caller: Caller) -> bytes:
        """A file's content. Raises `NotFound` where there is none."""
        await self._living(session_id, caller)
        found = await self._live.read_file(session_id, path)
        if found is None:
            raise NotFound("no such file in the session")
        return found

    async def write_file(self, session_id: str, path: str, data: bytes, caller: Caller) -> SessionFile:
        """Put a file into its working directory."""
        await self._living(session_id, caller)
        await self._live.write_file(session_id, path, data)
        return SessionFile(path=path, bytes=len(data))

    def ended(self, session_id: str, reason: str) -> None:
        """The sandbox's word that a session has ended by itself, or unused."""
        self._permits.pop(session_id, None)
        task = self._supervisor.child("session.ended", self._write_end(session_id, None, reason))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _row(self, session_id: str, caller: Caller) -> Any:
        rows = await self._rows(select(sessions).where(sessions.c.id == session_id))
        if not rows or not caller.sees(rows[0]["owner"]):
            raise NotFound("no such session")
        return rows[0]

    async def _rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        """Rows of sessions; of one that has ended, with its end, which may be on its way to the store."""
        rows = await self._store.read(lambda tx: tx.execute(query).mappings().all())
        while self._writing and any(row["ended_at"] is None and not self._live.state(row["id"]) for row in rows):
            await asyncio.gather(*self._writing)
            rows = await self._store.read(lambda tx: tx.execute(query).mappings().all())
        return rows

    async def _living(self, session_id: str, caller: Caller) -> Any:
        row = await self._row(session_id, caller)
        if self._live.state(session_id) is None:
            raise Gone(f"the session has ended: {row['reason'] or 'its process is gone'}")
        return row

    async def _write_end(self, session_id: str, owner: str | None, reason: str) -> None:
        now = rfc3339(self._clock.now())
        query = update(sessions).where(sessions.c.id == session_id, sessions.c.ended_at.is_(None))

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            whose = owner or tx.execute(select(sessions.c.owner).where(sessions.c.id == session_id)).scalar_one()
            done = tx.execute(query.values(ended_at=now, reason=reason)).rowcount
            entry = Entry("sandbox.session_ended", session_id, whose, "ok", {"reason": reason}, whose)
            return None, [entry] if done else []

        await self._journal.write(work)

    def _view(self, row: Any) -> Session:
        told = {name: row[name] for name in ("id", "profile", "subject", "ttl_s", "created_at", "ended_at", "reason")}
        state = self._live.state(row["id"])
        if state is None:
            return Session(**told, status="ended")
        busy, pieces, left_s = state
        expires = rfc3339(self._clock.now() + timedelta(seconds=left_s))
        return Session(**told, status="running" if busy else "idle", executions=pieces, expires_at=expires)


def _waiting(session_id: str, command: Mapping[Any, Any], admission: JsonObject) -> Session:
    """A session that waits for a person, or that he has refused."""
    told = {"id": session_id, "profile": admission["profile"], "created_at": command["asked_at"], "ttl_s": 0}
    if stands(command):
        why = f"The command {command['id']} awaits a person's approval."
        return Session(**told, status="awaiting_approval", reason=why)
    code = command["decision"] or command["status"]
    return Session(**told, status="ended", reason=f"It was not opened: its command {command['id']} was {code}.")
