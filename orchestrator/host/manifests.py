"""`PLUGIN`: what a plugin says of itself (CONTRACT 3). All of it is optional; all faults are told at once."""

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import BeforeValidator, Field, StringConstraints, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from orchestrator.contracts.model import JsonObject, Model, Name
from orchestrator.contracts.plugins import Effects, Isolation
from orchestrator.host.answers import NotJson, encode
from orchestrator.host.importing import DECLARED


class BadManifest(Exception):
    """`PLUGIN`, or the settings under `[plugins.NAME]`, are wrong; the text names every fault."""


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Keyword = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Example = Annotated[str, StringConstraints(min_length=1, max_length=32_768)]


class Manifest(Model):
    """A checked `PLUGIN`."""

    name: Name
    version: Annotated[str, Field(min_length=1, max_length=64)] = "0.0.0"
    description: Annotated[str, Field(max_length=2000)] = ""
    intents: Annotated[tuple[Name, ...], BeforeValidator(_as_tuple), Field(max_length=200)] = ()
    keywords: Annotated[tuple[Keyword, ...], BeforeValidator(_as_tuple), Field(max_length=1000)] = ()
    examples: Annotated[tuple[Example, ...], BeforeValidator(_as_tuple), Field(max_length=200)] = ()
    timeout_s: Annotated[float, Field(gt=0, le=3600)]
    isolation: Isolation = "inline"
    effects: Effects = "pure"
    config: JsonObject = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hint:
    """What a file says of itself without being run; `manifest` has only what is written out as literals."""

    name: str
    isolation: Any
    manifest: Manifest


def hint_of(source: bytes, *, name: str, timeout_s: float) -> Hint:
    """Read the literals of `PLUGIN`; `name` and `timeout_s` hold where it states none."""
    raw = peek(source)
    isolation = raw.get("isolation", "inline")
    try:
        manifest = checked(raw, name=name, timeout_s=timeout_s)
    except BadManifest:
        return Hint(name, isolation, Manifest(name="unnamed", timeout_s=timeout_s))
    return Hint(manifest.name, isolation, manifest)


def peek(source: bytes) -> dict[str, Any]:
    """The members of `PLUGIN = {...}`, else of `class Plugin`, that are literals, read without running anything.

    An empty result means: no such assignment, or a text that does not parse, which importing it will tell.
    """
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == "Plugin" and not found:
            found = _class_literals(node.body)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = any(isinstance(target, ast.Name) and target.id == "PLUGIN" for target in targets)
        if named and isinstance(value := getattr(node, "value", None), ast.Dict):
            found = _literals(value)
    return found


def _class_literals(body: list[ast.stmt]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            keys: list[ast.expr | None] = [ast.Constant(t.id) for t in targets if isinstance(t, ast.Name)]
            found |= _literals(ast.Dict(keys, [node.value] * len(keys)))
    return {name: value for name, value in found.items() if name in DECLARED}


def _literals(node: ast.Dict) -> dict[str, Any]:
    found = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            try:
                found[key.value] = ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
    return found


def checked(raw: Any, *, name: str, timeout_s: float) -> Manifest:
    """A manifest from `PLUGIN`; `name` and `timeout_s` hold where it states none. Raises `BadManifest`."""
    if not isinstance(raw, dict):
        raise BadManifest(f"PLUGIN must be a dict, not {type(raw).__name__}")
    try:
        plain = encode(raw, 2**20).value
        manifest = Manifest.model_validate({"name": name, "timeout_s": timeout_s, **_untupled(plain)})
        if manifest.config:
            Draft202012Validator.check_schema(manifest.config)
    except NotJson as fault:
        raise BadManifest(fault.of("PLUGIN")) from None
    except ValidationError as fault:
        raise BadManifest("; ".join(_fault(error) for error in fault.errors(include_url=False))) from None
    except SchemaError as fault:
        raise BadManifest(f"PLUGIN.config is no JSON Schema: {fault.message[:300]}") from None
    _check_served(manifest)
    return manifest


def configured(manifest: Manifest, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The plugin's settings, defaults of its schema filled in. Raises `BadManifest` naming every fault."""
    schema = manifest.config
    properties = schema.get("properties", {})
    defaults = {k: v["default"] for k, v in properties.items() if isinstance(v, dict) and "default" in v}
    config = {**defaults, **settings}
    if schema:
        # An empty registry: a schema may refer to itself, and fetches nothing.
        validator = Draft202012Validator(schema, registry=Registry())
        try:
            faults = sorted(validator.iter_errors(config), key=lambda fault: fault.json_path)
        except Unresolvable as fault:
            raise BadManifest(f"PLUGIN.config refers to what it does not hold: {fault}") from None
        if faults:
            told = "; ".join(f"{f.json_path.removeprefix('$.')}: {f.message[:200]}" for f in faults[:20])
            raise BadManifest(f"the settings [plugins.{manifest.name}] do not fit: {told}")
    return config


def _check_served(manifest: Manifest) -> None:
    """Refuse what cannot be honoured: a wall that does not exist."""
    if manifest.isolation == "sandbox":
        raise BadManifest("isolation 'sandbox' is not there yet; 'process' runs it in a child process")


_UNDONE_BY = {"compensated": ("undo", "takes back what `handle` did"), "deferred": ("release", "does what it prepared")}


def check_undone(manifest: Manifest, hooks: Collection[str]) -> None:
    """Raise `BadManifest` for effects without what undoes them or holds them back: they are not enabled (X-12).

    `versioned` effects need nothing of the plugin: it only adds versions, and going back is ours to do.
    """
    needed = _UNDONE_BY.get(manifest.effects)
    if needed is not None and needed[0] not in hooks:
        raise BadManifest(
            f"effects '{manifest.effects}' need a function `{needed[0]}(request)` that {needed[1]}:"
            " what cannot be undone is not enabled"
        )


def _untupled(plain: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, so that the checks see one kind of sequence."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def _fault(error: Any) -> str:
    where = ".".join(str(step) for step in ("PLUGIN", *error["loc"]))
    return f"{where}: {error['msg']}"
