"""A request's body: JSON, then the endpoint's model. A hostile one costs little and is told little."""

from typing import Any

import pydantic_core
from pydantic import BaseModel, ValidationError

from orchestrator.contracts.errors import Invalid, Malformed

_MOST_TOLD = 50
"""Faults listed in one answer; a body can have a million."""


def parse(model: type[BaseModel], raw: bytes, code: str = "invalid") -> BaseModel:
    """The validated body; none at all is an empty object where nothing is required.

    Raises `Malformed` for what is not JSON, `Invalid` of the given code for what is not the model.
    """
    if not raw and not any(field.is_required() for field in model.model_fields.values()):
        raw = b"{}"
    try:
        value = pydantic_core.from_json(raw, allow_inf_nan=False)
    except ValueError as fault:
        raise Malformed(f"the body is not JSON: {fault}") from None
    if not isinstance(value, dict):
        raise Invalid("the body is a JSON object", code=code, errors=[{"loc": [], "msg": "not an object"}])
    if len(value) > len(model.model_fields) + _MOST_TOLD:
        raise _some_of(model, value, code)  # most of its members are unknown: it cannot be valid
    try:
        return model.model_validate_json(raw)
    except ValidationError as fault:
        few = fault.error_count() <= _MOST_TOLD
        raise (invalid(fault, code) if few else _some_of(model, value, code)) from None


def invalid(fault: ValidationError, code: str = "invalid") -> Invalid:
    """All that a validation found, as one fault of the client's."""
    errors = [{"loc": list(e["loc"]), "msg": e["msg"]} for e in fault.errors(include_url=False, include_context=False)]
    where = ".".join(str(part) for part in errors[0]["loc"]) or "body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Invalid(f"{where}: {errors[0]['msg']}{more}", code=code, errors=errors[:_MOST_TOLD])


def _some_of(model: type[BaseModel], value: dict[str, Any], code: str) -> Invalid:
    """Some of very many faults: those of the value's first members."""
    try:
        model.model_validate_json(pydantic_core.to_json(_cut(value)))
    except ValidationError as fault:
        return invalid(fault, code)
    return Invalid("the body has more faults than can be told", code=code)


def _cut(value: Any, depth: int = 0) -> Any:
    """The first members of everything in a JSON value, three levels deep."""
    if depth > 3:
        return None
    if isinstance(value, dict):
        return {name: _cut(value[name], depth + 1) for name in list(value)[:_MOST_TOLD]}
    if isinstance(value, list):
        return [_cut(item, depth + 1) for item in value[:_MOST_TOLD]]
    return value
