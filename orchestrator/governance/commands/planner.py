"""From an intent to a plan: which capability does it, by the same ranking that routes queries. Pure (R4-18)."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.plans import Plan, PlanStep
from orchestrator.governance.capabilities import Capabilities, Capability, NoCandidate

Rank = Callable[[str], Sequence[tuple[str, float]]]
"""Plugins that fit a text, best first. Raises `Forbidden` (`capability_disabled`) for what is denied altogether."""


class Planner:
    """Makes plans over one state of the registry."""

    def __init__(self, capabilities: Capabilities, rank: Rank) -> None:
        self._capabilities = capabilities
        self._rank = rank

    def plan(self, plan_id: str, goal_id: str, intent: str, now: str) -> Plan:
        """A plan for an intent.

        Words go to the plugin that fits them best. A JSON object says for itself what is wanted: `{"capability",
        "params"}` is one step, `{"steps", "parallelExecution"}` a plan in seed 001's words. Raises `NoCandidate`,
        `Forbidden`, and `Invalid` (`plan_invalid`) for an object that is something else.
        """
        wanted = _structured(intent)
        if wanted is not None and "steps" in wanted:
            return _as_plan({**wanted, "id": plan_id, "goalId": goal_id, "createdAt": now})
        if wanted is None:
            capability, params = self._fitting(intent), {"text": intent}
        else:
            capability, params = self._named(wanted["capability"]), wanted.get("params", {})
        step = PlanStep(
            id="step_1", type="tool", name=capability.skill, description=capability.description, params=params,
            dependencies=[],
        )  # fmt: skip
        return Plan(id=plan_id, goal_id=goal_id, steps=[step], created_at=now)

    def _fitting(self, text: str) -> Capability:
        for plugin, _ in self._rank(text):
            if (found := self._capabilities.get(plugin)) is not None and found.enabled:
                return found
        raise NoCandidate("no capability fits these words; GET /capabilities lists what there is")

    def _named(self, skill: str) -> Capability:
        found = self._capabilities.get(skill)
        if found is None or not found.enabled:
            raise NoCandidate(f"there is no capability {skill}; GET /capabilities lists what there is")
        return found


def _structured(intent: str) -> dict[str, Any] | None:
    """The object that an intent is; None where it is a sentence."""
    if not intent.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(intent)
    except ValueError:
        return None
    for known in _FORMS:
        fits = set(found) <= set(known) and all(isinstance(value, known[name]) for name, value in found.items())
        if fits and next(iter(known)) in found:
            return dict(found)
    raise Invalid(
        "a structured intent is an object with `capability` and perhaps `params`, or with `steps` and perhaps "
        "`parallelExecution`", code="plan_invalid",
    )  # fmt: skip


_FORMS: tuple[dict[str, type], ...] = (
    {"capability": str, "params": dict},
    {"steps": list, "parallelExecution": bool},
)
"""The members of the objects that an intent may be; the first of each is mandatory."""


def _as_plan(given: dict[str, Any]) -> Plan:
    try:
        return Plan.model_validate_json(json.dumps(given))
    except ValidationError as fault:
        errors = [{"loc": list(error["loc"]), "msg": error["msg"]} for error in fault.errors()]
        where = ".".join(map(str, errors[0]["loc"]))
        raise Invalid(f"{where}: {errors[0]['msg']}", code="plan_invalid", errors=errors[:50]) from None
