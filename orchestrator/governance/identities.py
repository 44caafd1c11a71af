"""Who there is: persons and services, their contexts, and the operator of the first start (R4-40, R4-47)."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import insert, select

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import contexts, identities

OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or a service. Only a person can approve or grant."""

    id: str
    kind: Literal["person", "service"]
    name: str


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
