"""A daemon without an engine whose commands are acted on directly, each world in a context of its own, and what its rows say."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, insert, select

from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.commands import ApproveCommand, CreateCommand
from orchestrator.contracts.costs import Bound
from orchestrator.contracts.errors import OrchestratorError
from orchestrator.contracts.model import JsonObject
from orchestrator.governance.commands.service import Commands
from orchestrator.governance.identities import Context
from orchestrator.kernel.ids import new_id
from orchestrator.storage import schema
from orchestrator.testing.daemons import NO_ENGINE, Running, running

GATE = """
import asyncio, builtins
PLUGIN = {{"intents": ["{intent}"], "effects": "{effects}", "timeout_s": 3600}}
GATES = builtins.__dict__.setdefault("orchestrator_test_gates", {{}})
async def handle(request):
    gate = GATES.setdefault(request.params["gate"], [asyncio.get_running_loop().create_future(), 0])
    gate[1] += 1
    if not await asyncio.shield(gate[0]): raise ValueError("on purpose")
"""
PLUGINS = {
    "look.py": 'PLUGIN = {"intents": ["look"]}\ndef handle(request): return request.params',
    "build.py": """
import asyncio
PLUGIN = {"intents": ["build"], "effects": "versioned"}
AT_ONCE = [0, 0]
async def handle(request):
    AT_ONCE[0] += 1
    AT_ONCE[1] = max(AT_ONCE)
    await asyncio.sleep(0)
    AT_ONCE[0] -= 1
    if request.params.get("fail"): raise ValueError("on purpose")
    return AT_ONCE[1]
""",
    "gate.py": GATE.format(intent="hold", effects="pure"),
    "gate_of_effects.py": GATE.format(intent="forge", effects="versioned"),
}
"""Capabilities without effects and with. `build` answers how many calls of it there ever were at the same time; `hold`
and `forge` wait until the gate that `params.gate` names is opened, with whether they shall end well.
"""


class World:
    """One context of the operator's."""

    def __init__(self, daemon: Running, context: Context) -> None:
        self._rooms = daemon.daemon.rooms
        self.context = context
        self.person = Caller(context.identity_id, "person", frozenset({Scope.ADMIN}))

    @classmethod
    async def new(cls, daemon: Running, bound: Bound | None = None) -> "World":
        """A world in which so much may be spent."""
        own = daemon.daemon.operator.id
        context = Context(new_id(), own, "personal", own, own)
        row = {
            "id": context.id, "identity_id": context.identity_id, "sphere": context.sphere, "active": True,
            "budget_scope": (bound or Bound()).model_dump(mode="json"), "created_at": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip
        await daemon.daemon.rooms.store.write(lambda tx: tx.execute(insert(schema.contexts), row) and None)
        return cls(daemon, context)

    @property
    def commands(self) -> Commands:
        """The room under test."""
        return self._rooms.commands

    async def create(self, capability: str = "look", **asked: Any) -> str:
        """A new command for one step of this capability."""
        params = {name: asked.pop(name) for name in ("gate", "fail") if name in asked}
        return await self.of_intent(json.dumps({"capability": capability, "params": params}), **asked)

    async def of_intent(self, intent: str, **asked: Any) -> str:
        """A new command."""
        made = await self.commands.create(CreateCommand(intent=intent, **asked), self.context, self.person)
        return str(made["id"])

    async def planned(self, capability: str = "look", **asked: Any) -> str:
        """A command that awaits its approval."""
        command_id = await self.create(capability, **asked)
        await self.plan(command_id)
        return command_id

    async def approved(self, capability: str = "look", **asked: Any) -> str:
        """A command that may be executed."""
        command_id = await self.planned(capability, **asked)
        await self.approve(command_id)
        return command_id

    def plan(self, command_id: str) -> Coroutine[Any, Any, JsonObject]:
        return self.commands.planning.plan(command_id, self.context, self.person)

    def approve(self, command_id: str) -> Coroutine[Any, Any, JsonObject]:
        return self.commands.approve(command_id, ApproveCommand(approved=True), self.context, self.person)

    def reject(self, command_id: str) -> Coroutine[Any, Any, JsonObject]:
        return self.commands.reject(command_id, None, self.context, self.person)

    def execute(self, command_id: str) -> Coroutine[Any, Any, str]:
        return self.commands.execute(command_id, self.context, self.person)

    def cancel(self, command_id: str) -> Coroutine[Any, Any, JsonObject]:
        return self.commands.cancel(command_id, self.context, self.person)

    async def status(self, command_id: str) -> str:
        """Where a command is."""
        return str((await self.commands.status(command_id, self.context))["status"])

    async def ended(self, command_id: str) -> str:
        """Where a command is when it does not execute any more."""
        async with asyncio.timeout(30):
            while (status := await self.status(command_id)) == "executing":
                await asyncio.sleep(0.002)
        return status

    async def told(self, command_id: str, topic: str) -> int:
        """How many events of a topic there are of a command."""
        e = schema.events.c
        query = select(func.count()).where(e.subject == command_id, e.topic == topic)
        return int(await self._rooms.store.read(lambda tx: tx.execute(query).scalar_one()))

    async def rows(self, table: Table, **where: Any) -> list[dict[str, Any]]:
        """Rows of a table in which these columns have these values."""
        query = select(table).where(*(table.c[name] == value for name, value in where.items()))
        return [dict(row) for row in await self._rooms.store.read(lambda tx: tx.execute(query).mappings().all())]

    async def held(self) -> tuple[int, int]:
        """Tokens of this context that are reserved, and that are spent."""
        rows = await self.rows(schema.budgets, scope=f"context:{self.context.id}")
        return sum(row["reserved_tokens"] for row in rows), sum(row["spent_tokens"] for row in rows)

    async def locks(self) -> list[dict[str, Any]]:
        """Who holds the scope of this context."""
        return await self.rows(schema.scope_locks, scope=f"context:{self.context.id}")


async def at_once(*acts: Coroutine[Any, Any, Any]) -> list[Any]:
    """Begin all in one turn of the loop; what each came to, a refusal among them. Anything else raises."""
    outcomes = await asyncio.gather(*acts, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, OrchestratorError):
            raise outcome
    return list(outcomes)


def won(outcomes: list[Any]) -> list[Any]:
    """Those that were not refused."""
    return [outcome for outcome in outcomes if not isinstance(outcome, OrchestratorError)]


def codes(outcomes: list[Any]) -> set[str]:
    """The codes of those that were."""
    return {outcome.code for outcome in outcomes if isinstance(outcome, OrchestratorError)}


@contextlib.asynccontextmanager
async def daemon(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """A daemon that has these two capabilities and nothing else."""
    plugins = folder / "plugins"
    plugins.mkdir()
    for name, source in PLUGINS.items():
        (plugins / name).write_text(source)
    mine = {"sandbox__docker_host": NO_ENGINE, "host__breaker_failures": 10_000, **settings}  # failing is meant here
    async with running(folder / "state", [plugins], bundled=False, **mine) as found:
        yield found
