"""The journal: the one way in which state changes and what happened become durable, together.

Events and audit rows are written in the transaction of the change that they tell, and reach the bus only when that is
committed: nothing is published that was not committed, and nothing committed stays unpublished.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog
from sqlalchemy import insert, select

from orchestrator.audit import chain
from orchestrator.audit.entries import Entry
from orchestrator.bus.port import Bus
from orchestrator.contracts.events import Event
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import audit, events

T = TypeVar("T")
log = structlog.get_logger("journal")
_INSERT_EVENT = insert(events)
_INSERT_AUDIT = insert(audit)
_HEAD = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)


class Journal:
    """Writes entries and tells them. `advanced` is set after the next commit with events, and then replaced."""

    def __init__(self, store: Store, bus: Bus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self.advanced = asyncio.Event()
        self.last_seq = 0

    async def open(self) -> None:
        """Find the end of the log."""
        newest = select(events.c.seq).order_by(events.c.seq.desc()).limit(1)
        found = await self._store.read(lambda tx: tx.execute(newest).scalar_one_or_none())
        self.last_seq = found or 0

    def wake(self) -> None:
        """Let all that wait for events look again."""
        self.advanced.set()
        self.advanced = asyncio.Event()

    async def record(self, *entries: Entry) -> None:
        """Write entries; durable when this returns."""
        await self.write(lambda _tx: (None, entries))

    def note(self, *entries: Entry) -> None:
        """Write entries without waiting: on disk before anything that is written later."""
        self._submit(lambda _tx: (None, entries)).add_done_callback(_log_loss)

    async def write(self, work: Callable[[Tx], tuple[T, Sequence[Entry]]]) -> T:
        """Run a state change that also answers what happened; both are durable when this returns."""
        return (await self._submit(work))[0]

    def _submit(self, work: Callable[[Tx], tuple[T, Sequence[Entry]]]) -> "asyncio.Future[tuple[T, list[Event]]]":
        def transaction(tx: Tx) -> tuple[T, list[Event]]:
            value, entries = work(tx)
            return value, self._append(tx, entries)

        return self._store.submit(transaction, self._publish)

    def _append(self, tx: Tx, entries: Sequence[Entry]) -> list[Event]:
        now = rfc3339(self._clock.now())
        written = [_insert_event(tx, entry, now) for entry in entries]
        audited = [entry for entry in entries if entry.audited]
        if audited:
            head = tx.execute(_HEAD).first()
            seq, prev_hash = (head.seq, head.hash) if head else (0, chain.GENESIS)
            rows = []
            for entry in audited:
                seq += 1
                row = _audit_row(entry, seq, now, prev_hash)
                prev_hash = row["hash"]
                rows.append(row)
            tx.execute(_INSERT_AUDIT, rows)
        return written

    def _publish(self, outcome: tuple[Any, list[Event]]) -> None:
        for event in outcome[1]:
            self.last_seq = event.seq
            self._bus.tell(event)
        if outcome[1]:
            self.wake()


def _log_loss(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled() and (fault := future.exception()) is not None:
        log.error("journal.lost", error=str(fault))


def _insert_event(tx: Tx, entry: Entry, now: str) -> Event:
    row: dict[str, Any] = {
        "id": new_id(),
        "topic": entry.topic,
        "name": entry.name or entry.topic,
        "time": now,
        "source": entry.source,
        "subject": entry.subject,
        "data": entry.data,
        "owner": entry.owner,
    }
    return Event(seq=tx.execute(_INSERT_EVENT, row).lastrowid, **row)


def _audit_row(entry: Entry, seq: int, now: str, prev_hash: str) -> dict[str, Any]:
    row = {
        "seq": seq,
        "time": now,
        "actor": entry.actor,
        "action": entry.name or entry.topic,
        "subject": entry.subject,
        "outcome": entry.outcome,
        "approval_id": entry.approval_id,
        "data": json.dumps(entry.data, ensure_ascii=False, sort_keys=True),
        "prev_hash": prev_hash,
    }
    row["hash"] = chain.link(row, prev_hash)
    return row
