"""Why a step failed, in the six words that seed 004's runtime has for it. Pure (R4-48)."""

from typing import Literal

from orchestrator.contracts.errors import OrchestratorError, Violation

Category = Literal["timeout", "token_limit", "memory_limit", "rate_limit", "crash", "policy_violation"]

_BY_CODE: dict[str, Category] = {
    "plugin_timeout": "timeout",
    "budget_exceeded": "token_limit",
    "budget_overspent": "token_limit",
    "queue_full": "rate_limit",
    "rate_limited": "rate_limit",
    "policy_violation": "policy_violation",
    "policy_denied": "policy_violation",
    "permit_invalid": "policy_violation",
    "no_grant": "policy_violation",
    "capability_disabled": "policy_violation",
    "scope_missing": "policy_violation",
}
_OUT_OF_MEMORY = "raised MemoryError"


def category(fault: OrchestratorError) -> Category:
    """The category of a fault. What is none of the others is a crash: the work ended otherwise than by its end."""
    if fault.code in _BY_CODE:
        return _BY_CODE[fault.code]
    if isinstance(fault, Violation):
        return "policy_violation"
    return "memory_limit" if fault.detail.endswith(_OUT_OF_MEMORY) else "crash"
