"""The journal: the one way in which state changes and what happened become durable, together.

Events and audit rows are written in the transaction of the change that they tell, and reach the bus only when that is
committed: nothing is published that was not committed, and nothing committed stays unpublished.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pydantic_core
import structlog

from orchestrator.audit import chain
from orchestrator.audit.entries import Entry
from orchestrator.bus.port import Bus
from orchestrator.contracts.events import Event
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.bulk import insert_rows
from orchestrator.storage.port import Part, Store, Tx
from orchestrator.storage.schema import audit, events

T = TypeVar("T")
log = structlog.get_logger("journal")
_LAST_EVENT = "SELECT max(seq) FROM events"
_HEAD = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1"
"""As text: they run in every commit, and composing them costs more than the database's answer."""


class Journal:
    """Writes entries and tells them. `advanced` is set after the next commit with events, and then replaced.

    `head` is the newest row of the audit that is on disk: its number and hash.
    """

    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self.advanced = asyncio.Event()
        self.last_seq = 0
        self.head = (0, chain.GENESIS)

    async def open(self) -> None:
        """Find the end of the log."""
        newest = await self._store.read(lambda tx: tx.exec_driver_sql(_LAST_EVENT).scalar_one())
        self.last_seq = newest or 0
        head = await self._store.read(lambda tx: tx.exec_driver_sql(_HEAD).first())
        self.head = (head.seq, head.hash) if head else (0, chain.GENESIS)

    def wake(self) -> None:
        """Let all that wait for events look again."""
        self.advanced.set()
        self.advanced = asyncio.Event()

    async def record(self, *entries: Entry) -> None:
        """Write entries; durable when this returns."""
        await self.append(*entries)

    def note(self, *entries: Entry) -> None:
        """Write entries without waiting: on disk before anything that is written later."""
        self.append(*entries).add_done_callback(_log_loss)

    def append(self, *entries: Entry, parts: Sequence[Part] = ()) -> "asyncio.Future[None]":
        """Write entries, and rows that go with them; done when durable."""
        draft = _Draft(entries)
        return self._store.submit(None, *parts, (self._write_drafts, draft), after=lambda: self._publish(draft))

    async def write(self, work: Callable[[Tx], tuple[T, Sequence[Entry]]], parts: Sequence[Part] = ()) -> T:
        """Run a state change that also answers what happened; both, and the parts, are durable when this returns."""
        return await self.submit(work, parts)

    def submit(
        self, work: Callable[[Tx], tuple[T, Sequence[Entry]]], parts: Sequence[Part] = ()
    ) -> "asyncio.Future[T]":
        """The same without waiting: done when durable, and before anything that is written later."""
        draft = _Draft(())

        def transaction(tx: Tx) -> T:
            value, draft.entries = work(tx)
            return value

        own = (self._write_drafts, draft)
        return self._store.submit(transaction, *parts, own, after=lambda: self._publish(draft))

    def _write_drafts(self, tx: Tx, drafts: list["_Draft"]) -> None:
        """Append the entries of all transactions of one commit, in order."""
        now = rfc3339(self._clock.now())
        seq = tx.exec_driver_sql(_LAST_EVENT).scalar() or 0
        head = tx.exec_driver_sql(_HEAD).first()
        audit_seq, prev_hash = (head.seq, head.hash) if head else (0, chain.GENESIS)
        event_rows: list[dict[str, Any]] = []
        audit_rows: list[dict[str, Any]] = []
        for draft in drafts:
            draft.rows = []
            for entry in draft.entries:
                seq += 1
                row = _event_row(entry, seq, now)
                event_rows.append(row)
                draft.rows.append(row)
                if entry.audited:
                    audit_seq += 1
                    audit_row = _audit_row(entry, audit_seq, now, prev_hash)
                    prev_hash = audit_row["hash"]
                    audit_rows.append(audit_row)
            draft.head = (audit_seq, prev_hash)
        insert_rows(tx, events, event_rows)
        insert_rows(tx, audit, audit_rows)

    def _publish(self, draft: "_Draft") -> None:
        for row in draft.rows:
            self.last_seq = row["seq"]
            if self._bus.listens(row["topic"]):
                self._bus.tell(Event(**row))
        if draft.rows:
            self.head = max(self.head, draft.head)
            self.wake()


class _Draft:
    """The entries of one transaction on their way; `rows` are the events that became of them, `head` the audit then."""

    __slots__ = ("entries", "head", "rows")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.rows: list[dict[str, Any]] = []
        self.head = (0, chain.GENESIS)


def _log_loss(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled() and (fault := future.exception()) is not None:
        log.error("journal.lost", error=str(fault))


def _event_row(entry: Entry, seq: int, now: str) -> dict[str, Any]:
    return {
        "seq": seq,
        "id": new_id(),
        "topic": entry.topic,
        "name": entry.name or entry.topic,
        "time": now,
        "source": entry.source,
        "subject": entry.subject,
        "data": entry.data,
        "owner": entry.owner,
    }


def _audit_row(entry: Entry, seq: int, now: str, prev_hash: str) -> dict[str, Any]:
    row = {
        "seq": seq,
        "time": now,
        "actor": entry.actor,
        "action": entry.name or entry.topic,
        "subject": entry.subject,
        "outcome": entry.outcome,
        "approval_id": entry.approval_id,
        "data": pydantic_core.to_json(entry.data).decode(),
        "prev_hash": prev_hash,
    }
    row["hash"] = chain.link(row, prev_hash)
    return row
