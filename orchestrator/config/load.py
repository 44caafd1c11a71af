"""Reading the whole configuration, or all that is wrong with it, at once."""

import difflib
import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.config.settings import Settings
from orchestrator.config.sources import Gathered, Where


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings, and where each came from."""

    settings: Settings
    gathered: Gathered

    def origin(self, where: Where) -> str:
        """`default`, `FILE:LINE`, `environment NAME` or `flag --NAME`."""
        return self.gathered.origin(where) if where in self.gathered.origins else "default"


class BadConfiguration(Exception):
    """All faults of a configuration, each with its file and line or its variable."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def judge(gathered: Gathered) -> Configuration:
    """Validate what was gathered. Raises `BadConfiguration` with every fault there is."""
    faults = list(gathered.faults)
    settings = None
    try:
        settings = Settings.model_validate_json(json.dumps(gathered.values, default=str))
    except ValidationError as found:
        for e in found.errors(include_url=False, include_context=False):
            where = tuple(str(part) for part in e["loc"])
            faults.append(f"{gathered.origin(where)}: {'.'.join(where)}: {_message(e, where)}")
    if settings is not None:
        for dotted, why in settings.contradictions():
            faults.append(f"{gathered.origin(tuple(dotted.split('.')))}: {dotted}: {why}")
    if faults or settings is None:
        raise BadConfiguration(faults)
    return Configuration(settings, gathered)


def _message(e: Any, where: Where) -> str:
    if e["type"] != "extra_forbidden":
        return str(e["msg"])
    known = _names(where[:-1])
    near = difflib.get_close_matches(where[-1], known, n=1)
    return "there is no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _names(where: Where) -> list[str]:
    model: Any = Settings
    for name in where:
        info = model.model_fields.get(name) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if info is None:
            return []
        model = info.annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
