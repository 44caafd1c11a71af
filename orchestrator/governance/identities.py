"""Who there is: persons and services, their contexts, and the operator of the first start (R4-40, R4-47)."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import insert, select

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.costs import Bound
from orchestrator.contracts.errors import Forbidden
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import is_id, new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import contexts, identities

OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or a service. Only a person can approve or grant."""

    id: str
    kind: Literal["person", "service"]
    name: str


@dataclass(frozen=True, slots=True)
class Context:
    """Where an identity acts: one sphere, and what may be spent in it (R4-47)."""

    id: str
    identity_id: str
    sphere: str
    bound: Bound


class Identities:
    """All identities, kept in memory and written through the journal."""

    def __init__(self, store: Store, journal: Journal, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._all: dict[str, Identity] = {}

    async def open(self) -> Identity:
        """Load all; on first start make the operator: a person with one active personal context (CONTRACT 0)."""
        rows = await self._store.read(lambda tx: tx.execute(select(identities)).mappings().all())
        self._all = {row["id"]: Identity(row["id"], row["kind"], row["name"]) for row in rows}
        operator = next((i for i in self._all.values() if i.name == OPERATOR and i.kind == "person"), None)
        return operator or await self._make_operator()

    def get(self, identity_id: str) -> Identity | None:
        """An identity by its id."""
        return self._all.get(identity_id)

    async def contexts_of(self, identity_id: str) -> list[dict[str, Any]]:
        """The contexts of one identity, as `GET /v1/me` shows them."""
        query = select(contexts).where(contexts.c.identity_id == identity_id).order_by(contexts.c.created_at)
        rows = await self._store.read(lambda tx: tx.execute(query).mappings().all())
        return [{name: row[name] for name in ("id", "sphere", "active", "budget_scope")} for row in rows]

    async def acting(self, caller: Caller, identity_id: str | None, context_id: str | None) -> Context:
        """The context in which a caller acts, as the two mandatory headers name it (R4-01, R4-02).

        Raises `Forbidden` (`identity_required`) where one is missing or malformed, is not the key's own, or where the
        context is another's or not active.
        """
        for name, value in (("x-identity-id", identity_id), ("x-context-id", context_id)):
            if value is None or not is_id(value):
                raise Forbidden(f"{name} must be there and be an id: GET /v1/me tells both", code="identity_required")
        if identity_id != caller.owner:
            raise Forbidden("x-identity-id is not the key's own", code="identity_required")
        query = select(contexts).where(contexts.c.id == context_id, contexts.c.identity_id == identity_id)
        row = await self._store.read(lambda tx: tx.execute(query).mappings().first())
        if row is None or not row["active"]:
            raise Forbidden("x-context-id names no active context of this identity", code="identity_required")
        return Context(row["id"], row["identity_id"], row["sphere"], Bound.model_validate(row["budget_scope"] or {}))

    async def _make_operator(self) -> Identity:
        operator = Identity(new_id(), "person", OPERATOR)
        now = rfc3339(self._clock.now())

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            tx.execute(insert(identities), {"id": operator.id, "kind": "person", "name": OPERATOR, "created_at": now})
            context = {
                "id": new_id(),
                "identity_id": operator.id,
                "sphere": "personal",
                "active": True,
                "budget_scope": None,
                "created_at": now,
            }
            tx.execute(insert(contexts), context)
            return None, [Entry("identity.created", operator.id, "daemon", data={"kind": "person", "name": OPERATOR})]

        await self._journal.write(work)
        self._all[operator.id] = operator
        return operator
