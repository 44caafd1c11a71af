"""Which faults pass by themselves, and how long to wait for that: seed 004's retry strategy. Pure (R4-39, R1-35)."""

from orchestrator.contracts.errors import OrchestratorError

DELAYS_S = (1.0, 5.0, 15.0)
"""Before the second, third and fourth attempt: 21 s in all."""
CONDITIONS = {
    "plugin_timeout": "timeout",
    "queue_full": "rate_limit",
    "rate_limited": "rate_limit",
    "sandbox_unavailable": "transient_error",
    "store_unavailable": "transient_error",
}
"""By a fault's code, the seed's name of what passes. Nothing else is ever tried again by itself (X-06)."""


def delay_s(fault: OrchestratorError, attempt: int, attempts: int) -> float | None:
    """How long to wait after the given attempt, of so many that there may be; None: it has failed for good."""
    if fault.code not in CONDITIONS or attempt >= min(attempts, 1 + len(DELAYS_S)):
        return None
    return DELAYS_S[attempt - 1]
