"""What was recorded of a plan, read again: replay, timeline, sums, export and import (R1-23 to R1-27).

Entries are in the order in which they were recorded, which is the order of the log's numbers. Times come from clocks
that people set, so nothing is ever ordered by them, and no duration is negative.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import PlanEvent

EVENTS = (
    "plan_created", "execution_started", "step_started", "step_completed", "step_failed", "execution_completed",
    "execution_failed",
)  # fmt: skip
"""The names that seed 001 gives; the log may hold others between them."""
MAX_MS = 1e12
"""A measured duration beyond this, 31 years, was not measured."""
_BEGINS = {
    "step_completed": "step_started", "step_failed": "step_started",
    "execution_completed": "execution_started", "execution_failed": "execution_started",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """An entry of a timeline; `duration` in milliseconds is that of what ended with it, and 0 where nothing did."""

    timestamp: str
    event: str
    duration: float

    def as_json(self) -> JsonObject:
        return {"timestamp": self.timestamp, "event": self.event, "duration": self.duration}


@dataclass(frozen=True, slots=True)
class Stats:
    """Sums over a plan's history; durations in milliseconds, averaged over all attempts of steps that ended."""

    total_duration: float
    average_step_duration: float
    event_counts: dict[str, int]
    total_events: int

    def as_json(self) -> JsonObject:
        return {
            "totalDuration": self.total_duration,
            "averageStepDuration": self.average_step_duration,
            "eventCounts": self.event_counts,
            "totalEvents": self.total_events,
        }


def of_plan(events: Iterable[PlanEvent], plan_id: str) -> list[PlanEvent]:
    """One plan's entries, in the order in which they were recorded."""
    return [event for event in events if event.plan_id == plan_id]


def replay(events: Iterable[PlanEvent], plan_id: str, tell: Callable[[PlanEvent], None]) -> int:
    """Call `tell` with each entry of a plan in order, and answer how many there were. Nothing is executed (R1-24)."""
    told = of_plan(events, plan_id)
    for event in told:
        tell(event)
    return len(told)


def timeline(events: Sequence[PlanEvent]) -> list[Moment]:
    """Each entry of one plan, with the duration of what ended with it (R1-25)."""
    return [Moment(event.timestamp, event.event, took or 0) for event, took in _timed(events)]


def stats(events: Sequence[PlanEvent]) -> Stats:
    """Sums over one plan's entries (R1-26)."""
    timed = list(_timed(events))
    steps = [took for event, took in timed if event.event.startswith("step_") and took is not None]
    runs = [took for event, took in timed if event.event.startswith("execution_") and took is not None]
    return Stats(
        total_duration=sum(runs),
        average_step_duration=sum(steps) / len(steps) if steps else 0,
        event_counts=dict(Counter(event.event for event in events)),
        total_events=len(events),
    )


def _timed(events: Iterable[PlanEvent]) -> Iterator[tuple[PlanEvent, float | None]]:
    """Each entry, and how long what ended with it took: as it was measured, else between the two entries.

    An end belongs to the newest beginning of the same step, however many other steps began in between.
    """
    began: dict[tuple[str, Any], PlanEvent] = {}
    for event in events:
        step = _member(event, "stepId")
        begins = _BEGINS.get(event.event)
        if begins is None:
            began[event.event, step] = event
            yield event, None
        else:
            yield event, _duration(began.pop((begins, step), None), event)


def _duration(begin: PlanEvent | None, end: PlanEvent) -> float | None:
    measured = _member(end, "duration")
    if isinstance(measured, int | float) and not isinstance(measured, bool) and 0 <= measured <= MAX_MS:
        return measured
    if begin is None:
        return None
    took = datetime.fromisoformat(end.timestamp) - datetime.fromisoformat(begin.timestamp)
    return max(0.0, took / timedelta(milliseconds=1))


def _member(event: PlanEvent, name: str) -> Any:
    found = event.data.get(name) if isinstance(event.data, dict) else None
    return found if isinstance(found, str | int | float) else None
