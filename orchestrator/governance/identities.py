"""Who there is: persons and services, in whose name a caller acts, and the operator of the first start (R4-40)."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.errors import Conflict, Forbidden, Invalid, NotFound
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
    active: bool = True
    created_at: str = ""

    def as_json(self) -> dict[str, Any]:
        """As `GET /v1/identities` lists it."""
        return {name: getattr(self, name) for name in ("id", "kind", "name", "active", "created_at")}


@dataclass(frozen=True, slots=True)
class Context:
    """Where an identity acts: one sphere (R4-47).

    `touches` is the identity whose commands it may see and touch, `judges` the one whose commands it may see, approve
    and refuse; None stands for everybody's (CONTRACT 1, "Whose").
    """

    id: str
    identity_id: str
    sphere: str
    touches: str | None
    judges: str | None


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
        self._all = {row["id"]: Identity(**row) for row in rows}
        operator = next((i for i in self._all.values() if i.name == OPERATOR and i.kind == "person"), None)
        return operator or await self._make_operator()

    def get(self, identity_id: str) -> Identity | None:
        """An identity by its id."""
        return self._all.get(identity_id)

    def persons(self) -> list[Identity]:
        """The persons who are active."""
        return [identity for identity in self._all.values() if identity.kind == "person" and identity.active]

    async def create(self, kind: Literal["person", "service"], name: str, actor: str) -> Identity:
        """Make a person or a service. Raises `Invalid` for the operator's own name."""
        if name == OPERATOR:
            raise Invalid(
                f"name: {OPERATOR} is the name of the first identity alone",
                errors=[{"loc": ["name"], "msg": "is the name of the first identity alone"}],
            )
        made = Identity(new_id(), kind, name, True, rfc3339(self._clock.now()))

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            tx.execute(insert(identities), made.as_json())
            return None, [Entry("identity.created", made.id, actor, data={"kind": kind, "name": name}, owner=made.id)]

        await self._journal.write(work)
        self._all[made.id] = made
        return made

    async def switch(self, identity_id: str, active: bool, actor: str) -> Identity:
        """Switch an identity off, or on again. Raises `NotFound`, and `Conflict` for the operator.

        Off, its keys and grants are worth nothing. The operator is who is left when everybody else is off.
        """
        found = self._all.get(identity_id)
        if found is None:
            raise NotFound("no such identity")
        if found.active == active:
            return found
        if found.kind == "person" and found.name == OPERATOR:
            raise Conflict("the operator cannot be switched off: nobody might be left", code="operator_stays")
        topic = "identity.activated" if active else "identity.deactivated"

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            tx.execute(update(identities).where(identities.c.id == identity_id).values(active=active))
            return None, [Entry(topic, identity_id, actor, data={"active": active}, owner=identity_id)]

        await self._journal.write(work)
        found = self._all[identity_id] = replace(self._all[identity_id], active=active)
        return found

    async def contexts_of(self, identity_id: str) -> list[dict[str, Any]]:
        """The contexts of one identity, as `GET /v1/me` shows them."""
        query = select(contexts).where(contexts.c.identity_id == identity_id).order_by(contexts.c.created_at)
        rows = await self._store.read(lambda tx: tx.execute(query).mappings().all())
        return [{name: row[name] for name in ("id", "sphere", "active", "budget_scope")} for row in rows]

    async def acting(
        self, caller: Caller, identity_id: str | None, context_id: str | None, *, four_eyes: bool = False
    ) -> Context:
        """The context in which a caller acts, as the two mandatory headers name it (R4-01, R4-02).

        With `four_eyes` a person whose key may approve sees what others ask for: it is he who has to judge it. Raises
        `Forbidden` (`identity_required`) where a header is missing or malformed, is not the key's own, or where the
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
        touches = None if caller.may(Scope.ADMIN) else row["identity_id"]
        second = four_eyes and caller.kind == "person" and caller.may(Scope.APPROVE)
        return Context(row["id"], row["identity_id"], row["sphere"], touches, None if second else touches)

    def list(self) -> list[Identity]:
        """All identities, newest first."""
        return sorted(self._all.values(), key=lambda identity: identity.id, reverse=True)

    async def _make_operator(self) -> Identity:
        now = rfc3339(self._clock.now())
        operator = Identity(new_id(), "person", OPERATOR, True, now)

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            tx.execute(insert(identities), operator.as_json())
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
