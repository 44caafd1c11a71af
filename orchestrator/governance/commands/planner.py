"""From an intent to a plan: which capability does it, by the same ranking that routes queries. Pure (R4-18)."""

from collections.abc import Callable, Sequence
from typing import Any

import pydantic_core
from pydantic import ValidationError

from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.plans import Plan
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
        if "steps" not in wanted:
            found = self._named(wanted["capability"]) if "capability" in wanted else self._fitting(intent)
            params = wanted.get("params", {} if "capability" in wanted else {"text": intent})
            step = {"id": "step_1", "type": "tool", "name": found.skill, "description": found.description}
            wanted = {"steps": [{**step, "params": params, "dependencies": []}]}
        return _as_plan({**wanted, "id": plan_id, "goalId": goal_id, "createdAt": now})

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


def _structured(intent: str) -> dict[str, Any]:
    """The object that an intent is; an empty one where it is a sentence. Raises `Invalid` for what is neither."""
    if not intent.lstrip().startswith("{"):
        return {}
    try:
        found = pydantic_core.from_json(intent, allow_inf_nan=False)
    except ValueError as fault:
        raise Invalid(f"an intent that begins as an object is one: {fault}", code="plan_invalid") from None
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
        return Plan.model_validate(given)
    except ValidationError as fault:
        errors = [{"loc": list(error["loc"]), "msg": error["msg"]} for error in fault.errors()]
        where = ".".join(map(str, errors[0]["loc"]))
        raise Invalid(f"{where}: {errors[0]['msg']}", code="plan_invalid", errors=errors[:50]) from None
