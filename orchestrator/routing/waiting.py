"""A query that waits for a person: what is asked for, and what is told of it meanwhile (CONTRACT 2)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete

from orchestrator.contracts.callers import Caller
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.model import JsonObject
from orchestrator.governance.capabilities import Capabilities, Capability
from orchestrator.governance.commands.admissions import stands
from orchestrator.governance.grant_uses import Use
from orchestrator.governance.grants import identity_of
from orchestrator.host.tables import Entry
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import queries


def capability(plugin: Entry, intent: str | None) -> Capability:
    """What a query to a plugin uses of it: the intent's skill, or that for free text. Raises `Conflict`."""
    skill = intent if intent is not None and intent in plugin.intents else plugin.name
    return Capabilities({plugin.name: plugin}).require(skill, plugin.name)


def use(plugin: Entry, intent: str | None, estimate: Cost, caller: Caller) -> Use:
    """What a grant would have to cover."""
    names = {plugin.name, f"plugin:{plugin.name}", *({intent} if intent in plugin.intents else ())}
    named = frozenset(name for name in names if name is not None)
    return Use(named, plugin.version, plugin.digest, estimate, identity_of(caller))


def view(query_id: str, command: Mapping[Any, Any]) -> JsonObject:
    """A query without an answer: where its command is, or why there will be none."""
    told = {"id": query_id, "command_id": command["id"]}
    if stands(command):
        waits = command["status"] in ("created", "planned", "awaiting_approval")
        return {**told, "status": "awaiting_approval" if waits else "running"}
    code = command["decision"] or command["status"]
    return {**told, "status": "failed", "error": {"code": code, "status": 403, "detail": f"the command was {code}"}}


def forget(tx: Tx, query_id: str) -> None:
    """Take away the row of an earlier attempt; the audit keeps what it says of it."""
    tx.execute(delete(queries).where(queries.c.id == query_id))
