"""Incidents: what must never happen and was stopped is written down, told at once, and stays until a person closes it.

A violation is a hard stop by whoever finds it; here it becomes a row, an audit row and the event `incident.opened`
(R4-33, X-05). The same one again, while it is open, is counted and audited, and tells nobody a second time: whoever
hammers at a wall does not drown the others out.
"""

import asyncio
from collections.abc import Sequence

import structlog
from sqlalchemy import RowMapping, insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.errors import Conflict, NotFound
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.permits import Permit
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import incidents

log = structlog.get_logger("incidents")
_SHOWN = ("id", "time", "kind", "subject", "detail", "open", "times", "closed_at", "closed_by", "reason")


def opened(tx: Tx, kind: str, subject: str | None, detail: str, now: str, owner: str | None = None) -> Entry:
    """Open an incident within the caller's transaction, or count it on the open one; what is told of it.

    `owner` is the identity that hears of it, beside the admins; None where it is the daemon's own affair.
    """
    c, detail = incidents.c, detail[:2000]
    same = (c.open.is_(True), c.kind == kind, c.subject == subject)
    known = tx.execute(select(c.id).where(*same).limit(1)).scalar()
    if known is not None:
        tx.execute(update(incidents).where(c.id == known).values(times=c.times + 1))
        data = {"incident_id": known, "kind": kind, "detail": detail}
        return Entry("incident.repeated", subject, "daemon", "violation", data, owner)
    row = {
        "id": new_id(), "time": now, "kind": kind, "subject": subject, "owner": owner, "detail": detail, "open": True,
        "times": 1, "closed_at": None, "closed_by": None, "reason": None,
    }  # fmt: skip
    tx.execute(insert(incidents), row)
    data = {"incident_id": row["id"], "kind": kind, "detail": detail}
    return Entry("incident.opened", subject, "daemon", "violation", data, owner)


class Incidents:
    """All incidents of this store."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    def note(self, kind: str, subject: str | None, detail: str, owner: str | None = None) -> "asyncio.Future[None]":
        """Open an incident where no transaction is at hand; nobody needs to wait for it."""

        def work(tx: Tx) -> tuple[None, Sequence[Entry]]:
            return None, [opened(tx, kind, subject, detail, self._store.now(tx), owner)]

        written = self._journal.submit(work)
        written.add_done_callback(_log_loss)
        return written

    def forged(self, permit: Permit, capability: str, subject: str, why: str) -> None:
        """The permit office's word that a room was called without a permit that is good for it (R4-08)."""
        plugin, _, digest = capability.partition("@")
        changed = bool(digest) and permit.capability.startswith(f"{plugin}@") and permit.capability != capability
        if changed and permit.basis == "grant":
            return  # a plugin was saved while a query was on its way to it: its next version answers the next one
        kind = "digest_mismatch" if changed else "runtime_without_permit"
        self.note(kind, subject[:200], f"{capability} was called, and {why}")

    async def page(
        self, *, limit: int, before: str | None, subject: str | None, is_open: bool | None
    ) -> list[JsonObject]:
        """Incidents, newest first."""
        c = incidents.c
        query = select(incidents).order_by(c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(c.id < before)
        if subject is not None:
            query = query.where(c.subject == subject)
        if is_open is not None:
            query = query.where(c.open.is_(is_open))
        rows = await self._store.read(lambda tx: tx.execute(query).mappings().all())
        return [_view(row) for row in rows]

    async def get(self, incident_id: str) -> JsonObject:
        """One incident. Raises `NotFound`."""
        return await self._store.read(lambda tx: _view(_load(tx, incident_id)))

    async def close(self, incident_id: str, reason: str, person: str) -> JsonObject:
        """Say that it has been looked into. Raises `NotFound`, and `Conflict` for one that is closed."""

        def work(tx: Tx) -> tuple[JsonObject, list[Entry]]:
            row, now = _load(tx, incident_id), self._store.now(tx)
            if not row["open"]:
                raise Conflict(f"it was closed at {row['closed_at']} by {row['closed_by']}", extra={"state": "closed"})
            values = {"open": False, "closed_at": now, "closed_by": person, "reason": reason}
            tx.execute(update(incidents).where(incidents.c.id == incident_id).values(**values))
            data = {"incident_id": incident_id, "kind": row["kind"], "reason": reason}
            told = Entry("incident.closed", row["subject"] or incident_id, person, "closed", data, row["owner"])
            return _view(_load(tx, incident_id)), [told]

        return await self._journal.write(work)


def _load(tx: Tx, incident_id: str) -> RowMapping:
    row = tx.execute(select(incidents).where(incidents.c.id == incident_id)).mappings().first()
    if row is None:
        raise NotFound("no such incident")
    return row


def _view(row: RowMapping) -> JsonObject:
    return {name: row[name] for name in _SHOWN}


def _log_loss(written: "asyncio.Future[None]") -> None:
    if not written.cancelled() and (fault := written.exception()) is not None:
        log.error("incident.not_written", reason=str(fault))
