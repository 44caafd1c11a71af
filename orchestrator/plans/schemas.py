"""A JSON value against a capability's JSON Schema (R1-14). A schema may refer to itself, and fetches nothing."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from orchestrator.contracts.model import JsonObject
from orchestrator.kernel.canonical import canonical_json
from orchestrator.plans import templates
from orchestrator.plans.faults import Loc
from orchestrator.plans.paths import OPEN

MAX_TOLD = 20
"""Faults of one value that are listed."""
_OF_NAMES = ("required", "additionalProperties", "minProperties", "maxProperties")
"""Keywords that look at the names of members alone, which no template changes."""


class BadSchema(ValueError):
    """What should be a JSON Schema is none, or refers to what it does not hold."""


def faults(schema: JsonObject, value: Any) -> list[tuple[Loc, str]]:
    """Where the value does not fit, and why. Raises `BadSchema`."""
    return _told(_errors(schema, value))


def certain_faults(schema: JsonObject, params: JsonObject) -> list[tuple[Loc, str]]:
    """The same for params with templates in them: only what no value of any template could mend."""
    return _told(e for e in _errors(schema, params) if e.validator in _OF_NAMES or not is_open(e.instance))


def filled(schema: JsonObject, value: Any) -> Any:
    """The value with the defaults of its schema where an object lacks a member, through objects within objects."""
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, dict):
        return value
    known = {name: own for name, own in properties.items() if isinstance(own, dict)}
    defaults = {name: own["default"] for name, own in known.items() if "default" in own}
    return {name: filled(known.get(name, {}), member) for name, member in (defaults | value).items()}


def _told(errors: Iterator[ValidationError]) -> list[tuple[Loc, str]]:
    return [(tuple(error.absolute_path), error.message[:300]) for error in islice(errors, MAX_TOLD)]


def _errors(schema: JsonObject, value: Any) -> Iterator[ValidationError]:
    try:
        yield from _validator(canonical_json(schema)).iter_errors(value)
    except SchemaError as fault:
        raise BadSchema(f"it is no JSON Schema: {fault.message[:300]}") from None
    except (Unresolvable, re.error, RecursionError, TypeError, ValueError) as fault:
        raise BadSchema(f"it cannot be followed: {fault}") from None


@lru_cache(maxsize=256)
def _validator(schema_text: bytes) -> Draft202012Validator:
    """Kept by the schema's text: a plan's steps share few capabilities, and checking a schema takes milliseconds."""
    schema = json.loads(schema_text)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def is_open(value: Any) -> bool:
    """Whether a template decides what the value is, or what is in it."""
    return any(OPEN in text for _, text in templates.texts(value))
