"""Webhooks: who is told of which events, by what secret, and how far he has been told (CONTRACT 5).

The log of events is the outbox and each webhook has its place in it, so that nothing is told that was not committed,
and nothing is lost by a crash. `couriers` brings it there.
"""

import hmac
from hashlib import sha256
from typing import Any

import pydantic_core
from sqlalchemy import RowMapping, delete, func, insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.bus import topics
from orchestrator.contracts.errors import Conflict, Invalid, NotFound
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.webhooks import WebhookRequest
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import dead_letters, webhooks

MOST = 100
OWN = "webhook."
"""Topics of this room's own events: nobody is sent them, since a failed delivery makes one."""
_PLACES = {
    "command": "/v1/commands/{subject}",
    "query": "/query/{subject}",
    "sandbox": "/v1/sandbox/executions/{subject}",
    "evolution": "/evolution/runs/{subject}",
    "plugin": "/plugins/{subject}",
    "incident": "/v1/incidents/{incident_id}",
}


def signature(secret: str, seconds: int, body: bytes) -> str:
    """What proves a delivery: HMAC-SHA256 over `SECONDS.` and the body. An old `t` is a replay. Pure."""
    mac = hmac.new(secret.encode(), b"%d." % seconds + body, sha256).hexdigest()
    return f"t={seconds},v1={mac}"


def message(event: RowMapping, base: str) -> bytes:
    """What is sent of an event: that it happened, and where to look, with a key of one's own. Pure.

    Neither data nor a link that does anything: whoever reads the post of a receiver can approve nothing with it.
    """
    told: JsonObject = {name: event[name] for name in ("id", "seq", "topic", "name", "time", "subject")}
    place = _PLACES.get(event["topic"].partition(".")[0], "/v1/audit?subject={subject}")
    known = {"subject": event["subject"], "incident_id": event["data"].get("incident_id")}
    return pydantic_core.to_json({**told, "address": base + place.format(**known)})


def wanted(row: RowMapping, topic: str) -> bool:
    """Whether a webhook is to be told of a topic. Pure."""
    return not topic.startswith(OWN) and any(topics.matches(pattern, topic) for pattern in row["topics"])


class Webhooks:
    """All webhooks of this store."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal

    async def create(self, asked: WebhookRequest, person: str) -> JsonObject:
        """Tell somebody from now on. Raises `Invalid` for a topic that is none, `Conflict` where there are too many."""
        wrong = [at for at, pattern in enumerate(asked.topics) if not topics.is_pattern(pattern)]
        if wrong:
            errors = [{"loc": ["topics", at], "msg": "words, `*`, a last `>`"} for at in wrong]
            raise Invalid(f"topics.{wrong[0]}: no topic pattern", errors=errors)

        def work(tx: Tx) -> tuple[JsonObject, list[Entry]]:
            if tx.execute(select(func.count()).select_from(webhooks)).scalar_one() >= MOST:
                raise Conflict(f"there are {MOST} webhooks, which is the most", code="too_many")
            row = {
                "id": new_id(), "url": str(asked.url), "topics": list(asked.topics), "secret": asked.secret,
                "created_at": self._store.now(tx), "created_by": person, "cursor": self._journal.last_seq,
                "delivered": 0, "attempts": 0, "next_at": None, "fault": None,
            }  # fmt: skip
            tx.execute(insert(webhooks), row)
            data = {"host": asked.url.host, "topics": row["topics"]}
            return _view(tx, _load(tx, str(row["id"])), str(row["created_at"])), [
                Entry("webhook.created", str(row["id"]), person, data=data)
            ]

        return await self._journal.write(work)

    async def page(self, *, limit: int, before: str | None) -> list[JsonObject]:
        """Webhooks, newest first, without their secrets."""

        def work(tx: Tx) -> list[JsonObject]:
            query = select(webhooks).order_by(webhooks.c.id.desc()).limit(limit)
            if before is not None:
                query = query.where(webhooks.c.id < before)
            now = self._store.now(tx)
            return [_view(tx, row, now) for row in tx.execute(query).mappings().all()]

        return await self._store.read(work)

    async def remove(self, webhook_id: str, person: str) -> JsonObject:
        """Tell somebody nothing more. Raises `NotFound`."""

        def work(tx: Tx) -> tuple[JsonObject, list[Entry]]:
            view = _view(tx, _load(tx, webhook_id), self._store.now(tx))
            tx.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
            return view, [Entry("webhook.deleted", webhook_id, person, data={"topics": view["topics"]})]

        return await self._journal.write(work)


def settle(tx: Tx, webhook_id: str, seq: int, **values: Any) -> bool:
    """Move a webhook's place in the log forward; False where it is gone."""
    here = (webhooks.c.id == webhook_id, webhooks.c.cursor <= seq)
    return tx.execute(update(webhooks).where(*here).values(cursor=seq, **values)).rowcount == 1


def _load(tx: Tx, webhook_id: str) -> RowMapping:
    row = tx.execute(select(webhooks).where(webhooks.c.id == webhook_id)).mappings().first()
    if row is None:
        raise NotFound("no such webhook")
    return row


def _view(tx: Tx, row: RowMapping, now: str) -> JsonObject:
    count = select(func.count()).select_from(dead_letters).where(dead_letters.c.webhook_id == row["id"])
    rests = row["next_at"] is not None and row["next_at"] > now
    state = "retrying" if row["attempts"] else "resting" if rests else "ok"
    told = {name: row[name] for name in row if name not in ("secret", "attempts")}
    return {**told, "state": state, "dead": tx.execute(count).scalar_one()}
