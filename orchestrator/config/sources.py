"""Where settings come from, in rising order: defaults, files, credentials, environment, flags.

Each value remembers its origin.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from orchestrator.config.settings import Settings

PREFIX = "ORCHESTRATOR_"
_CREDENTIAL = "orchestrator."
Where = tuple[str, ...]
_TABLE = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


@dataclass(slots=True)
class Gathered:
    """Settings as found, before anybody judged them; `faults` are those of the sources themselves."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Where, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def put(self, where: Where, value: Any, origin: str) -> None:
        """Set one value, over what an earlier source said."""
        place = self.values
        for name in where[:-1]:
            inner = place.get(name)
            if not isinstance(inner, dict):
                inner = place[name] = {}
            place = inner
        place[where[-1]] = value
        self.origins[where] = origin

    def origin(self, where: Where) -> str:
        """Where a value, or the nearest thing around it, was set."""
        for length in range(len(where), 0, -1):
            if (found := self.origins.get(where[:length])) is not None:
                return found
            inside = [o for w, o in self.origins.items() if w[:length] == where[:length]]
            if inside:
                return inside[0]
        return "default"


def files(explicit: Path | None, environ: Mapping[str, str], checkout: Path | None) -> list[Path]:
    """The configuration files, weakest first. One named by flag or `ORCHESTRATOR_CONFIG` stands alone."""
    named = explicit or (Path(environ["ORCHESTRATOR_CONFIG"]) if environ.get("ORCHESTRATOR_CONFIG") else None)
    if named is not None:
        return [named]
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/")) / ".config")
    usual = [Path("/etc/orchestrator/orchestrator.toml"), home / "orchestrator" / "orchestrator.toml"]
    own = [checkout / "config" / "orchestrator.toml"] if checkout is not None else []
    return [path for path in (*own, *usual) if path.exists()]


def gather(paths: list[Path], environ: Mapping[str, str], flags: Mapping[str, Any]) -> Gathered:
    """Read all sources. `flags` maps dotted names to values."""
    found = Gathered()
    for path in paths:
        _read_file(path, found)
    _read_credentials(environ.get("CREDENTIALS_DIRECTORY", ""), found)
    for name in sorted(environ):
        if name.startswith(PREFIX) and "__" in name:
            where = tuple(name.removeprefix(PREFIX).lower().split("__"))
            found.put(where, _from_environment(where, environ[name]), f"environment {name}")
    if "ORCHESTRATOR_DEV" in environ:
        found.put(("dev",), _from_environment(("dev",), environ["ORCHESTRATOR_DEV"]), "environment ORCHESTRATOR_DEV")
    for dotted, value in flags.items():
        found.put(tuple(dotted.split(".")), value, f"flag --{dotted.rpartition('.')[2].replace('_', '-')}")
    return found


def _read_file(path: Path, found: Gathered) -> None:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as fault:
        reason = os.strerror(fault.errno) if isinstance(fault, OSError) and fault.errno else str(fault)
        found.faults.append(f"{path}: cannot be read: {reason}")
        return
    except tomllib.TOMLDecodeError as fault:
        found.faults.append(f"{path}: {fault}")
        return
    lines = _lines(text)
    for where, value in _leaves(values):
        line = next((lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in lines), 1)
        found.put(where, value, f"{path}:{line}")


def _read_credentials(folder: str, found: Gathered) -> None:
    """What the service manager lends, a file a setting: `LoadCredential=orchestrator.storage.url:FILE`."""
    for path in sorted(Path(folder).glob(f"{_CREDENTIAL}*.*")) if folder else []:
        where = tuple(path.name.removeprefix(_CREDENTIAL).split("."))
        try:
            found.put(
                where, _from_environment(where, path.read_text(encoding="utf-8").strip()), f"credential {path.name}"
            )
        except (OSError, UnicodeDecodeError):
            found.faults.append(f"credential {path.name}: cannot be read")


def _leaves(values: Mapping[str, Any], before: Where = ()) -> Iterator[tuple[Where, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*before, name))
        else:
            yield (*before, name), value


def _lines(text: str) -> dict[Where, int]:
    """The line of each table and key; inside multi-line values a line may be taken for a key, which harms no value."""
    table: Where = ()
    found: dict[Where, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE.match(line):
            table = _parts(match[1])
            found.setdefault(table, number)
        elif match := _KEY.match(line):
            found.setdefault((*table, *_parts(match[1])), number)
    return found


def _parts(dotted: str) -> Where:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _from_environment(where: Where, text: str) -> Any:
    """A variable's text as the setting's type wants it: text stays text, everything else is read as JSON."""
    model: Any = Settings
    for name in where:
        info = model.model_fields.get(name) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if info is None:
            break
        model = info.annotation
    if model is str or model == (str | None):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
