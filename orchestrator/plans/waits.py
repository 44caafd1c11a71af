"""How long a `wait` step waits: `duration` in milliseconds, or `until` a time (R1-34). Asks no clock."""

from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import Time

MAX_MS = 366 * 86_400_000
NAMES = ("duration", "until")
_TIME: TypeAdapter[str] = TypeAdapter(Time)


def fault_of(name: str, value: Any) -> str | None:
    """What is wrong with the value of `duration` or `until`; nothing where it is right."""
    if name == "duration":
        right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_MS
        return None if right else f"`duration` is a number of milliseconds, at most {MAX_MS:,}"
    try:
        _TIME.validate_python(value, strict=True)
    except ValidationError:
        return "`until` is a time such as 2026-01-02T03:04:05Z"
    return None


def due(params: JsonObject, began: datetime) -> datetime:
    """When a wait that began then is over, of params whose templates are bound. Raises `ValueError`."""
    name = next((name for name in NAMES if name in params), "duration")
    wrong = fault_of(name, params.get(name))
    if wrong:
        raise ValueError(wrong)
    if name == "duration":
        return began + timedelta(milliseconds=params[name])
    return datetime.fromisoformat(params[name])
