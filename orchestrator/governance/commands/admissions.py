"""What answers at once, where no grant covers it: a command that runs by itself once approved (CONTRACT 2, 5).

There is one way from a person's approval to work, that of commands. The plan has one step, which refers to the request
by its content, so that the approval is bound to it. Who asked finds the answer where it would have been.
"""

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import RowMapping, func, insert, select

from orchestrator.audit.entries import Entry
from orchestrator.contracts.callers import LOOPBACK, Caller
from orchestrator.contracts.commands import CreateCommand
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import ApprovalRequired, Forbidden, TooMany
from orchestrator.contracts.executions import ExecutionRequest
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.queries import QueryRequest
from orchestrator.contracts.sessions import SessionRequest
from orchestrator.governance.capabilities import Capability
from orchestrator.governance.commands import admitted, records
from orchestrator.governance.commands.planning import Planning
from orchestrator.governance.identities import Context
from orchestrator.kernel.ids import new_id
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import admissions, commands, contexts

Kind = Literal["query", "execution", "session"]
MOST_WAITING = 1000
"""Of one identity, or of all keyless callers: a person does not judge more, and they all cost room."""
Request = QueryRequest | ExecutionRequest | SessionRequest


class Admissions:
    """Queries, executions and sessions that wait for a person."""

    def __init__(self, store: Store, blobs: Blobs, planning: Planning, operator: str) -> None:
        self._store = store
        self._blobs = blobs
        self._planning = planning
        self._operator = operator

    async def query(
        self, query_id: str, request: QueryRequest, caller: Caller, capability: Capability, details: JsonObject
    ) -> ApprovalRequired:
        """Ask for the approval of a query to a plugin; what to raise."""
        return await self._ask("query", query_id, request, request.text, caller, capability, details)

    async def execution(
        self, execution_id: str, request: ExecutionRequest, caller: Caller, most: Cost, created_at: str
    ) -> ApprovalRequired:
        """Ask for the approval of an execution; what to raise."""
        details = {"most": most.model_dump(mode="json"), "created_at": created_at}
        return await self._ask("execution", execution_id, request, request.code, caller, admitted.CODE, details)

    async def session(
        self, session_id: str, request: SessionRequest, caller: Caller, most: Cost, created_at: str
    ) -> ApprovalRequired:
        """Ask for the approval of a session, and of the code in it; what to raise."""
        details = {"most": most.model_dump(mode="json"), "created_at": created_at, "profile": request.profile}
        text = f"a session of the profile {request.profile}, in which code keeps variables and files"
        return await self._ask("session", session_id, request, text, caller, admitted.CODE, details)

    async def request(self, admission: JsonObject) -> bytes:
        """What was asked, as JSON."""
        return await self._blobs.get(admission["request_ref"])

    async def of(self, command: RowMapping) -> JsonObject:
        """What a command is to admit."""
        return (await self._planning.draft_of(command)).admission or {}

    async def find(self, admission_id: str, caller: Caller) -> RowMapping | None:
        """The command of something that waits, or waited; None where there is no such, or it is another's."""
        query = select(commands, admissions.c.owner, admissions.c.kind, admissions.c.created_at.label("asked_at"))
        query = query.join(admissions, admissions.c.command_id == commands.c.id)
        query = query.where(admissions.c.id == admission_id)
        row = await self._store.read(lambda tx: tx.execute(query).mappings().first())
        return row if row is not None and caller.sees(row["owner"]) else None

    async def _ask(
        self, kind: Kind, admission_id: str, request: Request, text: str, caller: Caller, capability: Capability,
        details: JsonObject,
    ) -> ApprovalRequired:  # fmt: skip
        """Make the command and put it to a person, all in one transaction. Raises `Invalid`, `Forbidden`."""
        request_ref = await self._blobs.put(request.model_dump_json(exclude_defaults=True).encode())
        about = {"kind": kind, "id": admission_id}
        admission = {**about, "request_ref": request_ref, "caller": admitted.kept(caller), **details}
        identity_id = self._operator if caller.owner == LOOPBACK else caller.owner
        context = await self._context(identity_id)
        plain = text[:32_768].replace("\x00", "\ufffd")  # what every database keeps
        command_id = new_id()
        draft = self._planning.admitted(admitted.plan(command_id, capability, admission, plain), capability, admission)
        asked = CreateCommand(intent="-").model_dump(mode="json", exclude={"intent"})
        row: dict[str, Any] = {
            "id": command_id, "identity_id": identity_id, "context_id": context.id, "sphere": context.sphere,
            "intent": plain, "status": "created", "estimated_cost": Cost().model_dump(mode="json"),
            "asked": asked, "approval_mode": "plan", "plan_version": 0, "execution_id": None, "decision": None,
            "resolution": None, "failure": None,
        }  # fmt: skip

        def make(tx: Tx) -> list[Entry]:
            now = self._store.now(tx)
            if _waiting(tx, caller.owner) >= MOST_WAITING:
                raise TooMany(f"{MOST_WAITING} of your requests wait for a person already")
            tx.execute(insert(commands), {**row, "created_at": now, "updated_at": now})
            link = {**about, "command_id": command_id, "owner": caller.owner, "created_at": now}
            tx.execute(insert(admissions), link)
            waits = {"command_id": command_id, "request_ref": request_ref, "key_id": caller.key_id}
            topic, owner = f"{kind}.awaiting_approval", caller.owner
            told = Entry(topic, admission_id, owner, "awaiting_approval", waits, owner)
            made = records.load(tx, command_id)
            return [records.event(made, "command.created", identity_id, admits=about), told]

        asking = Caller(identity_id, caller.kind, frozenset(), caller.key_id, quota=caller.quota)
        await self._planning.put(row, draft, context, asking, before=make)
        return ApprovalRequired(
            "a person has to approve it first", extra={"id": admission_id, "command_id": command_id}
        )

    async def _context(self, identity_id: str) -> Context:
        """Where an identity asks that names no context: in its oldest one (X-10)."""
        c = contexts.c
        query = select(contexts).where(c.identity_id == identity_id, c.active).order_by(c.id).limit(1)
        row = await self._store.read(lambda tx: tx.execute(query).mappings().first())
        if row is None:
            raise Forbidden(
                "no grant covers it, and there is no active context in which a person could be asked: an admin makes"
                " one with POST /v1/contexts", code="no_grant",
            )  # fmt: skip
        return Context(row["id"], identity_id, row["sphere"], identity_id, identity_id)


def _waiting(tx: Tx, owner: str) -> int:
    query = select(func.count()).select_from(admissions).join(commands, admissions.c.command_id == commands.c.id)
    waits = (admissions.c.owner == owner, commands.c.status == "awaiting_approval")
    return int(tx.execute(query.where(*waits)).scalar_one())


def stands(command: Mapping[Any, Any]) -> bool:
    """Whether what waits may still run: nobody has refused it, and it has not failed."""
    return command["status"] not in ("cancelled", "failed", "completed")
