"""When a limit is near: at 90 % of tokens, 80 % of memory, 80 % of time somebody is told. Pure (R4-48)."""

from orchestrator.contracts.executions import Limits, Usage
from orchestrator.contracts.model import JsonObject

TOKENS, MEMORY, TIME = 0.9, 0.8, 0.8


def alarm(limit: str, used: float, most: float) -> JsonObject:
    """What is told of one limit."""
    return {"limit": limit, "used": used, "most": most, "share": round(used / most, 3)}


def crossed(before: float, after: float, most: float | None, share: float) -> bool:
    """Whether this step is the one with which the share of a limit was reached, so that it is told once."""
    return most is not None and most > 0 and before < share * most <= after


def of_execution(usage: Usage, limits: Limits) -> list[JsonObject]:
    """What is to be told of an execution that has ended: which limits it came near to."""
    seen = (
        ("memory", usage.peak_memory_bytes, limits.memory_bytes, MEMORY),
        ("time", usage.wall_ms, limits.wall_ms, TIME),
    )
    return [alarm(limit, used, most) for limit, used, most, share in seen if used is not None and used >= share * most]
