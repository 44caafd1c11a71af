"""Contexts: where an identity acts, one sphere and one budget over all its commands there (R4-47)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.commands import Sphere
from orchestrator.contracts.costs import Bound, Cost
from orchestrator.contracts.errors import Forbidden, Invalid, NotFound
from orchestrator.contracts.model import JsonObject
from orchestrator.governance.commands import budgets, locks
from orchestrator.governance.identities import Identities
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import budgets as budget_rows
from orchestrator.storage.schema import contexts, identities


def scope_of(context_id: str) -> str:
    """The name of a context's lock and of its budget."""
    return f"context:{context_id}"


def bound_of(tx: Tx, context_id: str) -> Bound:
    """What may be spent in a context, as it is now. Raises `Forbidden` where it, or whose it is, has been switched off.

    Asked within the transaction that takes something from it, so that no change comes in between.
    """
    query = select(contexts, identities.c.active.label("whose_active")).join(
        identities, identities.c.id == contexts.c.identity_id
    )
    row = tx.execute(query.where(contexts.c.id == context_id)).mappings().first()
    if row is None or not row["active"] or not row["whose_active"]:
        raise Forbidden("the context, or the identity whose it is, has been switched off", code="identity_required")
    return Bound.model_validate(row["budget_scope"] or {})


class Contexts:
    """All contexts."""

    def __init__(self, store: Store, journal: Journal, identities_: Identities, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._identities = identities_
        self._clock = clock

    async def create(self, identity_id: str, sphere: Sphere, most: Bound | None, actor: str) -> JsonObject:
        """Make a context. Raises `Invalid` for an identity that there is not."""
        if self._identities.get(identity_id) is None:
            raise Invalid("no such identity", errors=[{"loc": ["identity_id"], "msg": "names no identity"}])
        row = {
            "id": new_id(), "identity_id": identity_id, "sphere": sphere, "active": True,
            "budget_scope": _stored(most), "created_at": rfc3339(self._clock.now()),
        }  # fmt: skip

        def work(tx: Tx) -> tuple[JsonObject, list[Entry]]:
            tx.execute(insert(contexts), row)
            data = {"sphere": sphere, "budget_scope": row["budget_scope"], "identity_id": identity_id}
            return _view(tx, row), [Entry("context.created", str(row["id"]), actor, data=data, owner=identity_id)]

        return await self._journal.write(work)

    async def page(self, *, limit: int, before: str | None, subject: str | None) -> list[JsonObject]:
        """Contexts, newest first; `subject` is the id of one, or of an identity."""
        query = select(contexts).order_by(contexts.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(contexts.c.id < before)
        if subject is not None:
            query = query.where((contexts.c.id == subject) | (contexts.c.identity_id == subject))
        return await self._store.read(lambda tx: [_view(tx, row) for row in tx.execute(query).mappings().all()])

    async def get(self, context_id: str) -> JsonObject:
        """One context. Raises `NotFound`."""
        return await self._store.read(lambda tx: _view(tx, _row(tx, context_id)))

    async def change(self, context_id: str, wanted: Mapping[str, Any], actor: str) -> JsonObject:
        """Change `active` or `budget_scope`, as far as they are in `wanted`, with effect at once.

        Raises `NotFound`, and `Locked` while a command has the scope: then neither changes (R4-47).
        """
        values = {"active": wanted["active"]} if wanted.get("active") is not None else {}
        if "budget_scope" in wanted:
            values["budget_scope"] = _stored(wanted["budget_scope"])

        def work(tx: Tx) -> tuple[JsonObject, list[Entry]]:
            row = _row(tx, context_id)
            locks.require_free(tx, scope_of(context_id), self._store.now(tx))
            if all(row[name] == value for name, value in values.items()):
                return _view(tx, row), []
            tx.execute(update(contexts).where(contexts.c.id == context_id).values(**values))
            if "budget_scope" in values:
                budgets.bound(tx, scope_of(context_id), wanted["budget_scope"] or Bound())
            row = _row(tx, context_id)
            return _view(tx, row), [Entry("context.changed", context_id, actor, data=values, owner=row["identity_id"])]

        return await self._journal.write(work)


def _stored(most: Bound | None) -> JsonObject | None:
    return None if most is None else most.model_dump(mode="json", exclude_none=True) or None


def _row(tx: Tx, context_id: str) -> RowMapping:
    row = tx.execute(select(contexts).where(contexts.c.id == context_id)).mappings().first()
    if row is None:
        raise NotFound("no such context")
    return row


def _view(tx: Tx, row: Mapping[Any, Any]) -> JsonObject:
    b = budget_rows.c
    held = tx.execute(select(budget_rows).where(b.scope == scope_of(row["id"]))).mappings().first()
    parts = {
        kind: Cost() if held is None else Cost.of(held[f"{kind}_micros"], held[f"{kind}_tokens"])
        for kind in ("reserved", "spent")
    }
    told = {name: row[name] for name in ("id", "identity_id", "sphere", "active", "budget_scope", "created_at")}
    return {**told, **{kind: cost.model_dump(mode="json") for kind, cost in parts.items()}}
