"""A plan with all that an approval is bound to: tools and versions, what each step costs, budget and scope. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.contracts.costs import Bound, Cost
from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import Plan, PlanStep
from orchestrator.contracts.plugins import Effects
from orchestrator.governance import prices
from orchestrator.governance.capabilities import Capabilities, Capability
from orchestrator.governance.grant_uses import Use
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.plans import canonical, content, validation
from orchestrator.plans.faults import Fault
from orchestrator.plans.graph import needed, resolved

POLICY_VERSION = 1
"""Of the rules in this room: another number voids what was approved under the old ones."""


@dataclass(frozen=True, slots=True)
class DraftStep:
    """One step: who does it, what it is estimated to cost. A wait is done by nobody and costs next to nothing."""

    index: int
    step: PlanStep
    capability: Capability | None
    estimate: Cost

    @property
    def effects(self) -> Effects:
        """What it does to the world."""
        return "pure" if self.capability is None else self.capability.effects

    def use(self, identity: str, *, four_eyes: bool) -> Use | None:
        """What a grant has to cover for this step; None where nothing is called."""
        if self.capability is None:
            return None
        return use_of(self.capability, self.estimate, identity, four_eyes=four_eyes)


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that can be approved. `admission` is the query or execution that it is for, where it is for one."""

    plan: Plan
    steps: list[DraftStep]
    estimate: Cost
    admission: JsonObject | None = None

    @property
    def pure(self) -> bool:
        """Whether no step of it has effects, so that it may share its scope."""
        return all(step.effects == "pure" for step in self.steps)

    def digest(self, version: int, bound: Bound, context_id: str, approval_mode: str) -> str:
        """What an approval is bound to: everything that decides what will happen (REQUIREMENTS 3.1)."""
        tools = [
            None if step.capability is None else [step.capability.tool, step.capability.version, step.capability.digest]
            for step in self.steps
        ]
        whole = {
            **content.content(self.plan), "version": version, "tools": tools, "policy": POLICY_VERSION,
            "estimate": self.estimate.model_dump(mode="json"), "bound": bound.model_dump(mode="json"),
            "scope": context_id, "approval_mode": approval_mode,
        }  # fmt: skip
        return canonical.digest(whole)


def draft(
    plan: Plan, capabilities: Capabilities, settings: GovernanceSettings, tools: Mapping[str, str] | None = None
) -> Draft:
    """A plan judged and priced. `tools` names, by step, those that were chosen; the others are the registry's choice.

    Raises `Invalid` (`plan_invalid`) with all of its faults, `NotFound` and `Conflict` for a tool that cannot do it.
    """
    found = [*validation.faults(plan, capabilities), *_without_a_model(plan)]
    if found:
        told = f"{len(found)} faults; the first: {found[0].message}" if len(found) > 1 else found[0].message
        raise Invalid(told, code="plan_invalid", errors=[fault.as_json() for fault in found])
    plan = resolved(plan)
    chosen = tools or {}
    steps = [_priced(index, step, capabilities, settings, chosen) for index, step in enumerate(plan.steps)]
    total = sum((step.estimate for step in steps), Cost())
    return Draft(plan, steps, total)


def _without_a_model(plan: Plan) -> list[Fault]:
    """There is no door to a model yet, so no step may be its work (CONTRACT 5)."""
    return [
        Fault(("steps", at, "type"), "capability_disabled", f"{step.id!r}: no model is configured")
        for at, step in enumerate(plan.steps)
        if step.type == "llm"
    ]


def use_of(capability: Capability, estimate: Cost, identity: str | None, *, four_eyes: bool = False) -> Use:
    """One call of a capability, as a grant may cover it: by its skill, or by the plugin that has it."""
    names = frozenset({capability.skill, capability.tool, f"plugin:{capability.tool}"})
    return Use(names, capability.version, capability.digest, estimate, identity, four_eyes=four_eyes)


def rows(draft: Draft, command_id: str, new_id: Any, now: str, granted: Collection[int] = ()) -> list[dict[str, Any]]:
    """The rows of `execution_plans`. Steps in `granted` need nobody's approval."""
    return [
        {
            "id": new_id(), "command_id": command_id, "step_index": one.index,
            "agent_id": one.capability.agent_id if one.capability else _NOBODY,
            "skill": one.step.name, "tool": one.capability.tool if one.capability else one.step.type,
            "estimated_tokens": one.estimate.tokens, "estimated_cost": one.estimate.model_dump(mode="json"),
            "requires_approval": one.index not in granted, "status": "pending", "created_at": now,
            "step_id": one.step.id, "type": one.step.type, "effects": one.effects,
            "dependencies": needed(one.step), "error": None, "skip_reason": None, "category": None,
            "grant_id": None,
        }
        for one in draft.steps
    ]  # fmt: skip


def as_stored(draft: Draft) -> JsonObject:
    """What is kept of a draft, beside its rows: the plan, and which tool does each step."""
    tools = {one.step.id: one.capability.tool for one in draft.steps if one.capability}
    admitted = {} if draft.admission is None else {"admission": draft.admission}
    return {"plan": draft.plan.model_dump(mode="json"), "tools": tools, **admitted}


_NOBODY = "00000000-0000-0000-0000-000000000000"


def _priced(
    index: int, step: PlanStep, capabilities: Capabilities, settings: GovernanceSettings, tools: Mapping[str, str]
) -> DraftStep:
    capability = None if step.type == "wait" else capabilities.get(step.name)
    if capability is not None and step.id in tools:
        capability = capabilities.require(step.name, tools[step.id])
    seconds = 0.0 if capability is None else capability.timeout_s
    return DraftStep(index, step, capability, prices.estimate_of_call(seconds, settings))
