"""A plan's history as a file, and back (R1-27). The file is canonical JSON: the same history is the same bytes.

A file comes from anywhere. It is held to a size before it is read, to the model, and to what a history can be; what is
wrong is listed. Importing executes nothing and says nothing of whether the file is genuine.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.plans import Camel, Id, PlanEvent
from orchestrator.contracts.values import MAX_INTEGER
from orchestrator.plans.canonical import canonical
from orchestrator.plans.faults import Loc
from orchestrator.plans.history import EVENTS

Misfit = tuple[Loc, str]

MAX_BYTES = 16 * 2**20
MAX_EVENTS = 100_000
MAX_TOLD = 50
VERSION = 1
_WORK = frozenset(EVENTS) - {"plan_created", "execution_started"}
"""What happens within an execution, its end included."""


class _Archive(Camel):
    version: int
    plan_id: Id
    events: list[PlanEvent]


def exported(events: Sequence[PlanEvent], plan_id: str) -> bytes:
    """The history of one plan. Raises `Invalid` for entries of another, and for more than could be imported again."""
    archive = _Archive(version=VERSION, plan_id=plan_id, events=list(events))
    _refuse(_misfits(archive))
    text = canonical(archive.model_dump(mode="json"))
    _refuse(_too_large(text))
    return text


def imported(text: bytes) -> tuple[str, list[PlanEvent]]:
    """The plan's id and its history. Raises `Invalid` (`history_invalid`) with what is wrong."""
    _refuse(_too_large(text))
    try:
        value = json.loads(text.decode(), object_pairs_hook=_object, parse_int=_integer, parse_constant=_no_number)
        archive = _Archive.model_validate(value)
    except RecursionError:
        raise _invalid([((), "it is nested too deep")]) from None
    except ValidationError as fault:
        raise _invalid([(error["loc"], error["msg"]) for error in fault.errors(include_url=False)]) from None
    except ValueError as fault:
        raise _invalid([((), f"it is not JSON: {fault}")]) from None
    _refuse(_misfits(archive))
    return archive.plan_id, archive.events


def _too_large(text: bytes) -> Iterator[Misfit]:
    if len(text) > MAX_BYTES:
        yield (), f"a history has at most {MAX_BYTES:,} bytes"


def _misfits(archive: _Archive) -> Iterator[Misfit]:
    """What no history can be: entries of another plan, one entry twice, work outside of an execution."""
    if archive.version != VERSION:
        yield ("version",), f"version {VERSION} is read here, not {archive.version}"
    if len(archive.events) > MAX_EVENTS:
        yield ("events",), f"a history has at most {MAX_EVENTS:,} entries"
        return
    seen: set[str] = set()
    running = False
    for at, event in enumerate(archive.events):
        if event.plan_id != archive.plan_id:
            yield ("events", at, "planId"), f"it is of the plan {event.plan_id!r}, not {archive.plan_id!r}"
        if event.id in seen:
            yield ("events", at, "id"), f"{event.id!r} stands here already"
        seen.add(event.id)
        if event.event in _WORK and not running:
            yield ("events", at, "event"), f"{event.event} outside of an execution"
        if event.event.startswith("execution_") and event.event in EVENTS:
            running = event.event == "execution_started"


def _refuse(misfits: Iterator[Misfit]) -> None:
    found = list(misfits)
    if found:
        raise _invalid(found)


def _invalid(found: Sequence[Misfit]) -> Invalid:
    errors: list[dict[str, Any]] = [{"loc": list(loc), "msg": told} for loc, told in found[:MAX_TOLD]]
    return Invalid(f"the history is refused: {found[0][1]}", code="history_invalid", errors=errors)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has one member twice")
    return value


def _integer(text: str) -> int | float:
    """Canonical JSON writes `1e17` as its digits: that is a double again, if it is the one that is written so."""
    if len(text) > 22:
        raise ValueError("a whole number is too large")
    if abs(int(text)) <= MAX_INTEGER:
        return int(text)
    if canonical(float(text)).decode() != text:
        raise ValueError(f"the whole number {text} is not kept by every reader")
    return float(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")
