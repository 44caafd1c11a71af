"""The configuration as text: the commented reference file, and what holds now with its origins."""

import json
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from pydantic import BaseModel, SecretStr

from orchestrator.config.load import Configuration
from orchestrator.config.settings import Settings
from orchestrator.config.sources import Where

_HEAD = """\
# All settings with their defaults. This file is generated (`orchestrator config render`), and a test keeps it in step;
# take the `# ` from a line and change its value. Later sources win: this file, /etc/orchestrator/orchestrator.toml,
# ~/.config/orchestrator/orchestrator.toml, service credentials, ORCHESTRATOR_<ROOM>__<NAME> in the environment,
# flags.
"""


def reference() -> str:
    """`config/orchestrator.toml`: every setting, commented out, with what it means."""
    lines = [_HEAD]
    scalars = {n: f for n, f in Settings.model_fields.items() if not _is_room(f.annotation)}
    lines += [line for name, info in scalars.items() if name != "plugins" for line in _setting(name, info)]
    for name, info in Settings.model_fields.items():
        room: Any = info.annotation
        if _is_room(room):
            lines += ["", f"# {(room.__doc__ or '').partition(chr(10))[0]}", f"[{name}]"]
            lines += [line for n, f in room.model_fields.items() for line in _setting(n, f)]
    lines += ["", "# Each plugin's own settings, by its name: [plugins.NAME]", ""]
    return "\n".join(lines)


def effective(configuration: Configuration) -> Iterator[tuple[str, Any, str]]:
    """Every setting that holds: dotted name, JSON value, origin. Plugins' secrets are not shown."""
    for where, value in _flat(configuration.settings.model_dump(mode="json")):
        shown = "…" if where[0] == "plugins" and _is_secret(where[-1]) else value
        yield ".".join(where), shown, configuration.origin(where)


def _flat(values: dict[str, Any], before: Where = ()) -> Iterator[tuple[Where, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, (*before, name))
        else:
            yield (*before, name), value


def _setting(name: str, info: Any) -> list[str]:
    default = info.get_default(call_default_factory=True)
    comments = [f"# {line}" for line in wrap(info.description or "", 116)]
    if default is None:
        return [*comments, f"# {name} =  # not set"]
    if isinstance(default, dict) and any(isinstance(v, BaseModel) for v in default.values()):
        default = {k: v.model_dump(mode="json") for k, v in default.items()}
    return [*comments, f"# {name} = {toml(default)}"]


def toml(value: Any) -> str:
    """A value as the configuration file has it."""
    if value is None:
        return '""'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    if isinstance(value, str | SecretStr):
        return json.dumps(str(value), ensure_ascii=False)
    return json.dumps(value)


def _is_room(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in ("secret", "token", "password", "key"))
