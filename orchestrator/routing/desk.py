"""The desk: the whole way of one query, from the request to the audit row (CONTRACT 2, R2-06, R2-08).

route -> scope of the intent -> permit -> `ask` the host -> answer kept and written down -> back.
"""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import Any

import pydantic_core
from sqlalchemy import select

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.bus.port import Bus
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import (
    ApprovalRequired,
    Forbidden,
    Invalid,
    NotFound,
    OrchestratorError,
    Unauthenticated,
)
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.permits import Permit
from orchestrator.contracts.queries import QueryRequest, Route
from orchestrator.governance import prices
from orchestrator.governance.commands import admitted
from orchestrator.governance.commands.admissions import Admissions, stands
from orchestrator.governance.commands.bases import Basis
from orchestrator.governance.grant_uses import Use
from orchestrator.governance.grants import Grants, NoGrant
from orchestrator.governance.halts import Halts
from orchestrator.governance.quotas import Hold, Quotas
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.host import tables
from orchestrator.host.calls import HANDLE, Call, HandleMessage, Reply
from orchestrator.host.host import Host
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.kernel.metrics import Metrics
from orchestrator.routing import waiting
from orchestrator.routing.router import Router
from orchestrator.routing.settings import RoutingSettings
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.bulk import insert_rows
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import queries

_MOST_NESTED = 8
_SOON_S = 0.05
"""A query that is answered sooner tells its departure and its end in one transaction."""


@dataclass(slots=True)
class _Trip:
    """What is known of a query on its way."""

    id: str
    request: QueryRequest
    caller: Caller
    created_at: str
    started: float
    parent: str | None
    depth: int
    deadline: float
    plugin: str | None = None
    route: Route | None = None
    permit: Permit | None = None
    hold: Hold | None = None
    admitted: bool = False
    departure: list[Entry] = field(default_factory=list)


class Desk:
    """Takes queries; knows those under way."""

    def __init__(
        self,
        host: Host,
        bus: Bus,
        grants: Grants,
        quotas: Quotas,
        halts: Halts,
        journal: Journal,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        metrics: Metrics,
        settings: RoutingSettings,
        governance: GovernanceSettings,
    ) -> None:
        self._host = host
        self._bus = bus
        self._grants = grants
        self._quotas = quotas
        self._halts = halts
        self._journal = journal
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._metrics = metrics
        self._settings = settings
        self._governance = governance
        self.admissions: Admissions | None = None
        self._under_way: dict[str, _Trip] = {}
        self._router = Router(host.table(), settings)

    def configure(self, settings: RoutingSettings) -> None:
        """Take new settings, for queries that come from now on."""
        self._settings = settings
        self._router = Router(self._host.table(), settings)

    async def answer(
        self, request: QueryRequest, caller: Caller, *, parent: str | None = None, deadline: float = inf
    ) -> bytes:
        """Answer a query with its JSON document (`QueryAnswer`), the plugin's response in it byte for byte, or raise.

        Either way it is written down before the caller hears of it.
        """
        depth = self._under_way[parent].depth + 1 if parent in self._under_way else 0
        now = self._clock.now()
        trip = _Trip(new_id(), request, caller, rfc3339(now), self._clock.monotonic(), parent, depth, deadline)
        self._under_way[trip.id] = trip
        try:
            return await self._travel(trip)
        except ApprovalRequired:
            raise
        except OrchestratorError as fault:
            fault.extra["id"] = trip.id  # of a plugin's own query that failed, the one that the client asked
            await self._failed(trip, fault)
            raise
        except Exception:
            await self._failed(trip, OrchestratorError("a defect of the daemon"))
            raise
        finally:
            self._settle(trip)
            del self._under_way[trip.id]

    async def get(self, query_id: str, caller: Caller) -> tuple[bytes, bool]:
        """A query's answer as it was given, or where it is now; whether a person is, or was, waited for and it goes on.

        Raises `NotFound`.
        """
        trip = self._under_way.get(query_id)
        if trip is not None and caller.sees(trip.caller.owner):
            return pydantic_core.to_json(self._view(trip, "running")), trip.admitted
        row = await self._store.read(
            lambda tx: tx.execute(select(queries).where(queries.c.id == query_id)).mappings().first()
        )
        if row is not None and caller.sees(row["owner"]):
            return await self._blobs.get(row["answer_ref"]), False
        command = None if self.admissions is None else await self.admissions.find(query_id, caller)
        if command is None:
            raise NotFound("no such query")
        return pydantic_core.to_json(waiting.view(query_id, command)), stands(command)

    async def perform(self, admission: JsonObject, basis: Basis) -> bytes:
        """Answer a query that a person has approved. Raises what its plugin raises; it is written down either way."""
        request = QueryRequest.model_validate_json(await self._blobs.get(admission["request_ref"]))
        trip = _Trip(
            admission["id"], request, admitted.caller_of(admission), admission["created_at"], self._clock.monotonic(),
            None, 0, inf, admission["plugin"], Route.model_validate(admission["route"]), admitted=True,
        )  # fmt: skip
        await self._store.write(lambda tx: waiting.forget(tx, trip.id))  # of an earlier attempt
        self._under_way[trip.id] = trip
        try:
            trip.permit = self._grants.resting_on(basis, admission["permit_for"], trip.id, trip.caller)
            return await self._visit(trip)
        except OrchestratorError as fault:
            await self._failed(trip, fault)
            raise
        finally:
            del self._under_way[trip.id]

    def rank(self, text: str) -> list[tuple[str, float]]:
        """The plugins that fit a text, best first. Raises `Forbidden` (`capability_disabled`) for what is denied."""
        return self._current_router().rank(text)

    def set_out(self, query_id: str) -> None:
        """Tell that a query has set out, before anything that it causes is told."""
        if (trip := self._under_way.get(query_id)) is not None:
            self._set_out(trip)

    def _set_out(self, trip: _Trip) -> None:
        if trip.departure:
            self._journal.note(*trip.departure)
            trip.departure = []

    async def _travel(self, trip: _Trip) -> bytes:
        request, caller = trip.request, trip.caller
        if trip.depth > _MOST_NESTED:
            raise Invalid(f"a query of a plugin of a query … {_MOST_NESTED} deep", code="too_deep")
        trip.plugin, trip.route = await self._current_router().route(request, self._hook())
        self._check_intent(request.intent, caller)
        if request.dry_run:
            return await self._routed_only(trip)
        if trip.parent is None:
            self._halts.check()
        plugin = self._host.table().get(trip.plugin)
        if plugin is None:
            raise Invalid(f"the plugin {trip.plugin} was removed just now", code="no_route")
        if plugin.effects in ("compensated", "deferred"):
            raise Forbidden(
                f"{trip.plugin} has effects that a person accepts or that are undone: ask for it by POST /v1/commands",
                code="approval_required",
            )
        if caller.quota is not None:
            trip.hold = await self._quotas.admit(caller, self._estimate(plugin))
        try:
            use = partial(self._use, trip, plugin)
            trip.permit = await self._grants.plugin_permit(plugin.name, plugin.digest, trip.id, caller, use)
        except NoGrant:
            if self.admissions is None or trip.depth or caller.source == "plugin":
                raise
            raise await self._waits(trip, plugin) from None
        return await self._visit(trip)

    async def _waits(self, trip: _Trip, plugin: tables.Entry) -> ApprovalRequired:
        """Put a query to a person."""
        assert self.admissions is not None
        assert trip.route is not None
        self._quotas.settle(trip.hold, Cost())
        trip.hold = None
        capability = waiting.capability(plugin, trip.request.intent)
        details = {
            "plugin": plugin.name, "permit_for": plugin.capability, "created_at": trip.created_at,
            "route": trip.route.model_dump(mode="json"),
        }  # fmt: skip
        required = await self.admissions.query(trip.id, trip.request, trip.caller, capability, details)
        self._count(trip, required.code)
        return required

    async def _visit(self, trip: _Trip) -> bytes:
        """Ask the plugin, on the strength of the permit."""
        assert trip.plugin is not None
        assert trip.permit is not None
        trip.departure = _departure(trip)
        later = asyncio.get_running_loop().call_later(_SOON_S, self._set_out, trip)
        message = HandleMessage(
            trip.plugin, self._plugin_request(trip), Call(trip.id, trip.caller, trip.permit, trip.deadline)
        )
        try:
            reply: Reply = await self._bus.ask(HANDLE, message)
        finally:
            later.cancel()
        return await self._arrived(trip, reply)

    def _estimate(self, plugin: tables.Entry) -> Cost:
        return prices.estimate_of_call(plugin.timeout_s, self._governance)

    def _use(self, trip: _Trip, plugin: tables.Entry) -> Use:
        """What a grant would have to cover; asked for only where the default one does not cover it."""
        return waiting.use(plugin, trip.request.intent, self._estimate(plugin), trip.caller)

    def _settle(self, trip: _Trip) -> None:
        """Book what a query cost on the quota of its key; one that never reached its plugin cost nothing."""
        if trip.hold is None:
            return
        seconds = self._clock.monotonic() - trip.started
        self._quotas.settle(trip.hold, Cost() if trip.permit is None else prices.of_call(seconds, self._governance))

    def _check_intent(self, intent: str | None, caller: Caller) -> None:
        """An intent carries the scope of what it does, through every door (CONTRACT 1)."""
        scope = self._governance.intent_scopes.get(intent or "")
        if scope is None or caller.may(scope):
            return
        if caller.key_id is None:
            raise Unauthenticated(f"the intent {intent} needs a key of scope {scope.value}")
        raise Forbidden(f"the intent {intent} needs the scope {scope.value}")

    def _current_router(self) -> Router:
        table = self._host.table()
        if table is not self._router.table:
            self._router = Router(table, self._settings)
        return self._router

    def _hook(self) -> Any:
        if not self._host.has_route_hooks():
            return None

        async def hook(request: QueryRequest, candidates: list[Any]) -> tuple[str, float] | None:
            shown = {"text": request.text, "intent": request.intent, "params": request.params}
            return await self._host.route_hooks(shown, [c.model_dump() for c in candidates])

        return hook

    def _plugin_request(self, trip: _Trip) -> dict[str, Any]:
        request = trip.request
        return {
            "id": trip.id,
            "text": request.text,
            "intent": request.intent,
            "params": request.params,
            "source": trip.caller.source,
        }

    def _view(self, trip: _Trip, status: str) -> JsonObject:
        """What is known of a query, as `QueryAnswer` has it."""
        return {
            "id": trip.id,
            "status": status,
            "intent": trip.request.intent,
            "plugin": trip.plugin,
            "duration_ms": round((self._clock.monotonic() - trip.started) * 1000, 3),
            "route": trip.route,
        }

    async def _routed_only(self, trip: _Trip) -> bytes:
        encoded = pydantic_core.to_json(self._view(trip, "routed"))
        await self._write(trip, "routed", encoded, _entry(trip, "query.completed", "routed"), _departure(trip))
        return encoded

    async def _arrived(self, trip: _Trip, reply: Reply) -> bytes:
        frame = pydantic_core.to_json(self._view(trip, "ok"))
        encoded = frame[:-1] + b',"response":' + reply.encoded + b"}"
        await self._write(trip, "ok", encoded, _entry(trip, "query.completed", "ok"), trip.departure)
        self._count(trip, "ok")
        return encoded

    async def _failed(self, trip: _Trip, fault: OrchestratorError) -> None:
        problem = {"code": fault.code, "status": fault.status, "detail": fault.detail}
        encoded = pydantic_core.to_json({**self._view(trip, "failed"), "error": problem})
        before = _departure(trip) if trip.permit is None else trip.departure
        await self._write(
            trip, "failed", encoded, _entry(trip, "query.failed", fault.code, detail=fault.detail[:500]), before
        )
        self._count(trip, fault.code)

    async def _write(self, trip: _Trip, status: str, encoded: bytes, entry: Entry, before: Any = ()) -> None:
        """Keep question and answer, and write the query's row and audit entry, all durable on return."""
        asked = trip.request.model_dump_json(exclude_defaults=True).encode()
        (request_ref, answer_ref), contents = self._blobs.part(asked, encoded)
        row = {
            "id": trip.id,
            "owner": trip.caller.owner,
            "created_at": trip.created_at,
            "status": status,
            "intent": trip.request.intent,
            "plugin": trip.plugin,
            "request_ref": request_ref,
            "answer_ref": answer_ref,
            "duration_ms": round((self._clock.monotonic() - trip.started) * 1000),
        }
        entry.data.update(request_ref=request_ref, answer_ref=answer_ref, duration_ms=row["duration_ms"])
        await self._journal.append(*before, entry, parts=[contents, (_insert_queries, row)])

    def _count(self, trip: _Trip, status: str) -> None:
        self._metrics.query_done(trip.plugin or "none", status, self._clock.monotonic() - trip.started)


def _insert_queries(tx: Tx, rows: list[dict[str, Any]]) -> None:
    insert_rows(tx, queries, rows)


def _departure(trip: _Trip) -> list[Entry]:
    """The events of a query that has set out; its one audit row comes when it is over."""
    received = _entry(trip, "query.received", "received", audited=False)
    if trip.route is None:
        return [received]
    return [received, _entry(trip, "query.routed", "routed", audited=False, by=trip.route.by, score=trip.route.score)]


def _entry(trip: _Trip, topic: str, outcome: str, *, audited: bool = True, **facts: Any) -> Entry:
    permit, caller = trip.permit, trip.caller
    data = {
        "plugin": trip.plugin,
        "intent": trip.request.intent,
        "source": caller.source,
        "key_id": caller.key_id,
        **facts,
        **({"approved_by": permit.approved_by, "permit_id": permit.id} if permit else {}),
        **({"parent": trip.parent} if trip.parent else {}),
    }
    return Entry(
        topic, trip.id, caller.owner, outcome, data, caller.owner, permit.basis_id if permit else None, audited=audited
    )
