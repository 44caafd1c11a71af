"""When somebody is told that a limit is near, and in which word a failure is told (R4-48)."""

import pytest

from orchestrator.contracts.errors import (
    Forbidden,
    Invalid,
    OrchestratorError,
    PluginFailed,
    PluginTimeout,
    TooMany,
    Unavailable,
    Violation,
)  # fmt: skip
from orchestrator.contracts.executions import Limits, Usage
from orchestrator.governance import alarms
from orchestrator.governance.commands import failures

LIMITS = Limits(memory_bytes=100 * 2**20, wall_ms=1000)


@pytest.mark.parametrize(
    ("memory_mib", "wall_ms", "told"),
    [(79, 799, []), (80, 799, ["memory"]), (79, 800, ["time"]), (100, 1000, ["memory", "time"])],
)
def test_an_execution_that_came_near_to_a_limit_is_told(memory_mib: int, wall_ms: float, told: list[str]) -> None:
    """R4-48: 80 % of memory, 80 % of time."""
    usage = Usage(peak_memory_bytes=memory_mib * 2**20, wall_ms=wall_ms)
    assert [one["limit"] for one in alarms.of_execution(usage, LIMITS)] == told


@pytest.mark.parametrize(
    ("before", "after", "most", "told"),
    [(0, 89, 100, False), (0, 90, 100, True), (89, 90, 100, True), (90, 95, 100, False), (0, 1, None, False),
     (0, 0, 0, False)],
)  # fmt: skip
def test_a_share_is_told_when_it_is_reached_and_once(before: int, after: int, most: int | None, told: bool) -> None:
    assert alarms.crossed(before, after, most, alarms.TOKENS) is told


@pytest.mark.parametrize(
    ("fault", "category"),
    [
        (PluginTimeout("late"), "timeout"), (TooMany("full"), "rate_limit"),
        (TooMany("fast", code="rate_limited"), "rate_limit"), (PluginFailed("the plugin x raised ValueError"), "crash"),
        (PluginFailed("the plugin x raised MemoryError"), "memory_limit"), (Unavailable("no engine"), "crash"),
        (Violation("never"), "policy_violation"), (Violation("spent", code="budget_overspent"), "token_limit"),
        (Forbidden("no", code="permit_invalid"), "policy_violation"), (Forbidden("no", code="no_grant"), "policy_violation"),
        (Invalid("odd", code="step_input"), "crash"), (OrchestratorError("a defect"), "crash"),
    ],
)  # fmt: skip
def test_every_fault_has_one_of_six_words(fault: OrchestratorError, category: str) -> None:
    """R4-48."""
    assert failures.category(fault) == category
