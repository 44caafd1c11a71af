"""What of a plan an approval is bound to: every word that decides what runs, as one JSON value (REQUIREMENTS 3.1).

Who approves adds what lies outside of the plan: versions of capabilities, the budget, the policy.
"""

from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import Plan
from orchestrator.plans import canonical, conditions
from orchestrator.plans.graph import resolved


def content(plan: Plan) -> JsonObject:
    """The plan with its dependencies written out, and how its conditions were read. Of a valid plan.

    The trees of the conditions are in it, so that a daemon that read the same text in another way would see another
    plan. Raises `ConditionError` for a condition that cannot be read.
    """
    written = resolved(plan)
    trees = {
        step.id: conditions.as_json(conditions.parse(step.params.get("condition", "")))
        for step in written.steps
        if step.type == "conditional"
    }
    return {"plan": written.model_dump(mode="json"), "conditions": trees}


def digest(plan: Plan) -> str:
    """The SHA-256 of the content's canonical form."""
    return canonical.digest(content(plan))
