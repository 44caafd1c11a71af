"""The plan of what waits for a person, a query, an execution or a session: one step, bound to its content. Pure."""

from collections.abc import Mapping
from typing import Any

from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import Plan
from orchestrator.governance import prices
from orchestrator.governance.capabilities import Capabilities, Capability
from orchestrator.governance.commands.drafts import Draft, DraftStep
from orchestrator.governance.grants import EXECUTE, EXECUTE_VERSION
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.kernel.canonical import sha256_hex

CODE = Capability(
    EXECUTE, "sandbox", EXECUTE_VERSION, sha256_hex(EXECUTE.encode()), EXECUTE,
    "Runs a program in a container without a network.", "pure", "active", 3600.0, None,
)  # fmt: skip
"""Running code, as a step of a plan has it."""


def plan(command_id: str, capability: Capability, admission: JsonObject, text: str) -> Plan:
    """The one step. What it calls for lies in the blob that `request_ref` names; no text in it is a template."""
    step = {
        "id": "step_1", "type": "tool", "name": capability.skill, "description": text[:500],
        "params": {name: admission[name] for name in ("kind", "id", "request_ref")}, "dependencies": [],
    }  # fmt: skip
    given = {"id": command_id, "goalId": command_id, "createdAt": admission["created_at"], "steps": [step]}
    return Plan.model_validate(given)


def draft(made: Plan, capability: Capability, admission: JsonObject, settings: GovernanceSettings) -> Draft:
    """The plan priced."""
    most = admission.get("most")
    estimate = Cost(**most) if most else prices.estimate_of_call(capability.timeout_s, settings)
    return Draft(made, [DraftStep(0, made.steps[0], capability, estimate)], estimate, admission)


def again(stored: Mapping[str, Any], capabilities: Capabilities, settings: GovernanceSettings) -> Draft | None:
    """A kept plan of this kind over the registry of now; None for one of another kind.

    Raises `NotFound` and `Conflict` where the plugin is not there any more.
    """
    admission = stored.get("admission")
    if admission is None:
        return None
    made = Plan.model_validate(stored["plan"])
    step = made.steps[0]
    capability = CODE if admission["kind"] != "query" else capabilities.require(step.name, stored["tools"][step.id])
    return draft(made, capability, admission, settings)


def kept(caller: Caller) -> JsonObject:
    """Who asks, as it is kept until a person has decided."""
    names = ("owner", "kind", "key_id", "source", "kernel")
    return {**{name: getattr(caller, name) for name in names}, "scopes": sorted(caller.scopes)}


def caller_of(admission: Mapping[str, Any]) -> Caller:
    """Who asked, as he was then. No quota is his: what it costs is reserved by the command."""
    told = admission["caller"]
    return Caller(**{**told, "scopes": frozenset(Scope(scope) for scope in told["scopes"])})
