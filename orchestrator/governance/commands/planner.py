"""From an intent to a plan: which capability does it, by the same ranking that routes queries. Pure (R4-18)."""

import re
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import pydantic_core
from pydantic import ValidationError

from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import Goal, Plan
from orchestrator.contracts.values import MAX_BYTES, size_of
from orchestrator.governance.capabilities import Capabilities, Capability, NoCandidate

Rank = Callable[[str], Sequence[tuple[str, float]]]
"""Plugins that fit a text, best first. Raises `Forbidden` (`capability_disabled`) for what is denied altogether."""


MOST_TOLD_BYTES = 4 * MAX_BYTES
"""Of what a goal says beside its criteria, in all steps of its plan together."""


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

    def for_goal(self, goal: Goal, plan_id: str, now: str) -> Plan:
        """A plan for seed 001's goal: for each success criterion the capability that fits it best, one after the other.

        A goal without criteria is its description. Raises `NoCandidate` with every criterion that nothing fits, and
        `Forbidden`.
        """
        wanted = goal.success_criteria or [goal.description[:2000]]
        if size_of([goal.context, goal.constraints], 2 * MAX_BYTES + 100) * len(wanted) > MOST_TOLD_BYTES:
            told = f"context and constraints, told to {len(wanted)} steps, are more than {MOST_TOLD_BYTES:,} bytes"
            raise Invalid(told, code="plan_invalid", errors=[{"loc": ["context"], "msg": told}])
        found = [(text, self._best(text)) for text in wanted]
        if lost := [text for text, fit in found if fit is None]:
            raise NoCandidate(
                f"no capability fits {lost[0]!r}", errors=[{"loc": ["success_criteria"], "msg": one} for one in lost]
            )
        steps = [
            {
                "id": f"step_{at}", "type": fit.kind if fit.kind == "agent" else "tool", "name": fit.skill,
                "description": text, "params": _params(text, goal, fit.input_schema),
                "dependencies": [f"step_{at - 1}"] if at > 1 else [],
            }
            for at, (text, fit) in enumerate(found, 1) if fit is not None
        ]  # fmt: skip
        return _as_plan({"id": plan_id, "goalId": goal.id, "createdAt": now, "steps": steps})

    def _best(self, text: str) -> Capability | None:
        try:
            return self._fitting(text)
        except NoCandidate:
            return None

    def _fitting(self, text: str) -> Capability:
        ranked = self._rank(text)
        if (local := _nearest(text, self._capabilities.local.values())) is not None:
            return local
        for plugin, _ in ranked:
            if (found := self._capabilities.get(plugin)) is not None and found.enabled:
                return found
        raise NoCandidate("no capability fits these words; GET /capabilities lists what there is")

    def _named(self, skill: str) -> Capability:
        found = self._capabilities.get(skill)
        if found is None or not found.enabled:
            raise NoCandidate(f"there is no capability {skill}; GET /capabilities lists what there is")
        return found


def _nearest(text: str, local: Iterable[Capability]) -> Capability | None:
    """Of what Python code registered here, which has no keywords, the one whose name and description say most of it.

    Words are held to be the same by their first letters: `Content generated` finds `content_generation`.
    """
    wanted = _stems(text)
    ranked = [(len(wanted & _stems(f"{one.skill} {one.description}")), one.skill, one) for one in local if one.enabled]
    most, _, best = max(ranked, key=itemgetter(0, 1), default=(0, "", None))
    return best if most > 0 else None


def _stems(text: str) -> set[str]:
    return {word[:5] for word in re.findall(r"[^\W_]{4,}", text.casefold())}


def _params(criterion: str, goal: Goal, schema: JsonObject) -> JsonObject:
    """What a step for a criterion gets: where its capability names its params, those that the goal's context has.

    A capability that names none gets the criterion as its text, and all that the goal says.
    """
    known = {"context": goal.context, "constraints": goal.constraints}
    told = {name: value for name, value in known.items() if value is not None}
    named = schema.get("properties")
    if not isinstance(named, dict):
        return {"text": criterion, **told}
    offered = {"text": criterion, **told, **(goal.context or {})}
    params = {name: offered[name] for name in named if name in offered}
    missing = [name for name in schema.get("required", []) if name in named and name not in params]
    texts = [name for name in missing if isinstance(named[name], dict) and named[name].get("type") == "string"]
    return params | ({texts[0]: criterion} if len(texts) == 1 else {})


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
