"""What is tried again by itself, how often, and after how long (R4-39, R1-35, X-06)."""

import pytest

from orchestrator.contracts.errors import Invalid, OrchestratorError, PluginFailed, PluginTimeout, TooMany, Unavailable
from orchestrator.governance.commands import retries

PASSING = [
    PluginTimeout("late"), TooMany("full"), TooMany("fast", code="rate_limited"), Unavailable("no engine"),
    Unavailable("no store", code="store_unavailable"),
]  # fmt: skip


def waits(fault: OrchestratorError, attempts: int) -> list[float]:
    """All delays until it has failed for good."""
    found: list[float] = []
    while (delay_s := retries.delay_s(fault, len(found) + 1, attempts)) is not None:
        found.append(delay_s)
    return found


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.code)
def test_what_passes_is_tried_three_times_more_within_21_seconds(fault: OrchestratorError) -> None:
    assert waits(fault, 4) == [1, 5, 15]
    assert sum(waits(fault, 4)) == 21


@pytest.mark.parametrize(("attempts", "delays"), [(1, []), (2, [1]), (3, [1, 5]), (99, [1, 5, 15])])
def test_a_step_is_tried_as_often_as_it_says_and_never_more_than_four_times(attempts, delays) -> None:
    assert waits(PASSING[0], attempts) == delays


@pytest.mark.parametrize("fault", [PluginFailed("raised"), Invalid("wrong", code="step_input"), OrchestratorError("x")])
def test_what_does_not_pass_by_itself_is_never_tried_again(fault: OrchestratorError) -> None:
    """X-06: validation, policy and defects are for a person."""
    assert waits(fault, 4) == []


def test_the_seeds_three_conditions_are_all_that_there_are() -> None:
    assert set(retries.CONDITIONS.values()) == {"timeout", "rate_limit", "transient_error"}
