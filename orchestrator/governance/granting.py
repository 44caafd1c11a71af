"""Making, showing and revoking grants: acts of persons alone (CONTRACT 5, X-26)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, insert, or_, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.costs import Bound, Cost
from orchestrator.contracts.errors import Forbidden, Invalid, NotFound
from orchestrator.contracts.grants import GrantRequest
from orchestrator.contracts.model import JsonObject
from orchestrator.governance.grant_uses import STANDING
from orchestrator.governance.grants import Grants
from orchestrator.governance.identities import Identities
from orchestrator.kernel.clock import rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import grants

_SHOWN = (
    "id", "kind", "capabilities", "sandbox", "budget_per_use", "budget_total", "uses_left", "expires_at",
    "identity_id", "granted_by", "created_at", "revoked_at",
)  # fmt: skip


class Granting:
    """What persons do with grants. `standing` is told of revocations, since it answers for most calls by memory."""

    def __init__(
        self, store: Store, journal: Journal, standing: Grants, identities: Identities, *, four_eyes: bool
    ) -> None:
        self._store = store
        self._journal = journal
        self._standing = standing
        self._identities = identities
        self._four_eyes = four_eyes

    async def create(self, asked: GrantRequest, caller: Caller) -> JsonObject:
        """Allow something beforehand. Raises `Forbidden` for all but persons, `Invalid`."""
        person, whose = _person(caller), self._whose(asked, caller)
        total = asked.budget_total or Bound()
        row = {
            "id": new_id(), "kind": STANDING, "granted_by": person, "identity_id": whose, "revoked_at": None,
            "capabilities": [one.model_dump(mode="json") for one in asked.capabilities], "sandbox": asked.sandbox,
            "budget_per_use": _stored(asked.budget_per_use), "budget_total": _stored(asked.budget_total),
            "uses_left": asked.uses_left, "expires_at": rfc3339(asked.expires_at) if asked.expires_at else None,
            "spent_micros": 0, "spent_tokens": 0, **total.as_row(),
        }  # fmt: skip

        def work(tx: Tx) -> tuple[JsonObject, list[Entry]]:
            now = self._store.now(tx)
            if row["expires_at"] is not None and str(row["expires_at"]) <= now:
                raise Invalid("expires_at: is over", errors=[{"loc": ["expires_at"], "msg": "is over already"}])
            made = {**row, "created_at": now}
            tx.execute(insert(grants), made)
            data = {name: made[name] for name in _SHOWN if name not in ("id", "revoked_at")}
            return _view(made), [_entry("grant.created", made, person, data)]

        return await self._journal.write(work)

    async def page(self, caller: Caller, *, limit: int, before: str | None, subject: str | None) -> list[JsonObject]:
        """Grants, newest first: for an admin all, for others those that they made or that cover them."""
        query = select(grants).order_by(grants.c.id.desc()).limit(limit)
        if not caller.may(Scope.ADMIN):
            query = query.where(_seen_by(caller.owner))
        if before is not None:
            query = query.where(grants.c.id < before)
        if subject is not None:
            query = query.where(or_(grants.c.id == subject, grants.c.identity_id == subject))
        return [_view(row) for row in await self._store.read(lambda tx: tx.execute(query).mappings().all())]

    async def get(self, grant_id: str, caller: Caller) -> JsonObject:
        """One grant. Raises `NotFound` for one that it does not see, too."""
        return _view(await self._store.read(lambda tx: _row(tx, grant_id, caller)))

    async def revoke(self, grant_id: str, caller: Caller) -> JsonObject:
        """End a grant at once and for good; a second time is the same as once.

        Raises `Forbidden` for all but persons, and for a grant that an admin made and that only covers the caller.
        """
        person = _person(caller)

        def work(tx: Tx) -> tuple[RowMapping, list[Entry]]:
            row = _row(tx, grant_id, caller)
            if not caller.sees(row["granted_by"]):
                raise Forbidden("the grant is another person's: he can revoke it, or an admin")
            if row["revoked_at"] is not None:
                return row, []
            tx.execute(update(grants).where(grants.c.id == grant_id).values(revoked_at=self._store.now(tx)))
            return _row(tx, grant_id, caller), [_entry("grant.revoked", row, person, {"kind": row["kind"]})]

        row = await self._journal.write(work)
        self._standing.revoked(row)
        return _view(row)

    def _whose(self, asked: GrantRequest, caller: Caller) -> str | None:
        """Whose calls a grant covers. A person grants to others as far as he approves for others."""
        whose = asked.identity_id
        if whose is not None and self._identities.get(whose) is None:
            raise Invalid("no such identity", errors=[{"loc": ["identity_id"], "msg": "names no identity"}])
        if caller.may(Scope.ADMIN):
            return whose
        if whose not in (None, caller.owner) and not self._four_eyes:
            raise Forbidden("only an admin grants to others")
        return whose or caller.owner


def _person(caller: Caller) -> str:
    """Raises `Forbidden`: services, plugins and keyless callers never grant (X-26)."""
    if caller.kind != "person":
        raise Forbidden("only a person can grant or revoke", code="person_required")
    return caller.owner


def _seen_by(identity: str) -> Any:
    return or_(grants.c.granted_by == identity, grants.c.identity_id.is_(None), grants.c.identity_id == identity)


def _row(tx: Tx, grant_id: str, caller: Caller) -> RowMapping:
    query = select(grants).where(grants.c.id == grant_id)
    if not caller.may(Scope.ADMIN):
        query = query.where(_seen_by(caller.owner))
    row = tx.execute(query).mappings().first()
    if row is None:
        raise NotFound("no such grant")
    return row


def _entry(topic: str, row: Mapping[Any, Any], person: str, data: JsonObject) -> Entry:
    return Entry(topic, row["id"], person, data={**data, "approved_by": person}, owner=person, approval_id=row["id"])


def _stored(most: Bound | None) -> JsonObject | None:
    return None if most is None else most.model_dump(mode="json", exclude_none=True)


def _view(row: Mapping[Any, Any]) -> JsonObject:
    spent = Cost.of(row["spent_micros"], row["spent_tokens"]).model_dump(mode="json")
    return {**{name: row[name] for name in _SHOWN}, "spent": spent}
