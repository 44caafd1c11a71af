"""Reading what happened: pages of events and audit rows, and the proof that the chain holds."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, or_, select

from orchestrator.audit import chain
from orchestrator.audit.anchors import Anchored
from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.events import Event
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import audit, events

_BLOCK = 10_000
_ROWS = select(*(audit.c[name] for name in chain.COLUMNS)).order_by(audit.c.seq)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of the chain; `first_bad` is the first row that does not follow, or is not there any more.

    `anchored` is the newest row that something outside the database vouches for, `forged` counts anchors that nobody
    here has signed.
    """

    ok: bool
    entries: int
    first_bad: int | None
    anchored: int
    forged: int


class AuditReader:
    """Reads the log and the audit; never writes. `known` tells what is known of the chain outside the database."""

    def __init__(self, store: Store, known: Callable[[], Anchored] | None = None) -> None:
        self._store = store
        self._known = known

    async def page(self, *, limit: int, before: int | None = None, subject: str | None = None) -> list[dict[str, Any]]:
        """Audit rows, newest first, older than `before`."""
        query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.seq < before)
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        rows = await self._store.read(lambda tx: tx.execute(query).mappings().all())
        return [{**row, "data": json.loads(row["data"])} for row in rows]

    async def events_after(self, seq: int, caller: Caller, *, limit: int = 500) -> tuple[list[Event], int]:
        """Events newer than `seq` that the caller may see, and the seq up to which all were looked at."""

        def work(tx: Tx) -> tuple[list[Event], int]:
            top = tx.execute(select(events.c.seq).order_by(events.c.seq.desc()).limit(1)).scalar() or 0
            rows = tx.execute(_visible(caller).where(events.c.seq > seq).order_by(events.c.seq).limit(limit)).mappings()
            found = [Event(**row) for row in rows]
            newest = found[-1].seq if found else seq
            return found, newest if len(found) == limit else max(top, newest)

        return await self._store.read(work)

    async def verify(self) -> Verdict:
        """Walk the whole chain, block by block, and hold it against what is known outside the database."""
        known = Anchored({}, None, 0) if self._known is None else await asyncio.to_thread(self._known)
        anchored = 0 if known.last is None else known.last.seq
        prev_hash, seq, bad = chain.GENESIS, 1, None
        while bad is None:

            def work(tx: Tx, prev: str = prev_hash, at: int = seq) -> tuple[int | None, str, int]:
                rows = tx.execute(_ROWS.where(audit.c.seq >= at).limit(_BLOCK)).all()
                return chain.first_bad(rows, prev, at, known.hashes)

            before = seq
            bad, prev_hash, seq = await self._store.read(work)
            if bad is None and seq - before < _BLOCK:
                break
        if bad is None and anchored >= seq:
            bad = seq  # the chain holds as far as it goes, and it went further
        return Verdict(bad is None and not known.forged, seq - 1, bad, anchored, known.forged)


def _visible(caller: Caller) -> Select[Any]:
    """Own events; an admin's are all; a keyed caller also sees the daemon's own (CONTRACT 1, "Whose")."""
    query = select(events)
    if caller.may(Scope.ADMIN):
        return query
    if caller.kind == "loopback":
        return query.where(events.c.owner == caller.owner, events.c.topic.like("query.%"))
    return query.where(or_(events.c.owner == caller.owner, events.c.owner.is_(None)))
