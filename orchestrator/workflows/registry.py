"""`CapabilityRegistry`: what can be planned, and what Python code adds to it (R1-13 to R1-17)."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, Field, StringConstraints, ValidationError

from orchestrator.api import bodies
from orchestrator.contracts.errors import Conflict, Invalid, NotFound
from orchestrator.contracts.model import JsonObject, Name
from orchestrator.contracts.plans import Camel
from orchestrator.contracts.values import Object
from orchestrator.governance.capabilities import Capability, Kind
from orchestrator.governance.local import TOOL, Handler, permit_of
from orchestrator.plans import schemas
from orchestrator.workflows.workspace import Workspace

Listing = list[JsonObject]


class Metadata(Camel):
    """Who answers for a capability, and in which version."""

    version: Annotated[str, StringConstraints(min_length=1, max_length=64)] = "0.0.0"
    owner: Annotated[str, StringConstraints(max_length=200)] | None = None


class Definition(Camel):
    """What seed 001 registers; schemas as JSON Schema. `timeout` in ms is for who calls it."""

    name: Name
    type: Kind
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    input_schema: Object = Field(default_factory=lambda: {"type": "object"})
    output_schema: Object = Field(default_factory=dict)
    enabled: bool = True
    metadata: Metadata = Field(default_factory=Metadata)
    effects: Literal["pure", "versioned"] = Field("pure", description="What it does to the world, on its owner's word.")
    timeout: Annotated[int, Field(ge=1, le=3_600_000)] = Field(30_000, validation_alias=AliasChoices("timeout"))


class CapabilityRegistry:
    """Capabilities of this process. Those of plugins are in the daemon's registry and are planned beside them."""

    def __init__(self, state_dir: str | Path | None = None, plugins: list[Path] | None = None) -> None:
        self.workspace = Workspace.of(state_dir, plugins)

    async def __aenter__(self) -> Self:
        """Keep the state directory open for many calls."""
        await self.workspace.__aenter__()
        return self

    async def __aexit__(self, *told: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.workspace.__aexit__(*told)

    def register(
        self, definition: Mapping[str, Any], handler: Handler | None = None, *, replace: bool = False
    ) -> JsonObject:  # fmt: skip
        """Add a capability, as `{name, type, description, inputSchema, outputSchema, enabled, metadata}`.

        Schemas are pydantic models or JSON Schemas; `handler(params)`, plain or async, does the work in this process,
        and may also be the member `handler`. One without a handler is described, and never planned. Names are
        registered again in another version, or with `replace`. Raises `Invalid`, `Conflict` (`capability_exists`).
        """
        told = dict(definition)
        function = handler if handler is not None else told.pop("handler", None)
        known = _definition(told)
        before = self._own.get(known.name)
        if before is not None and before.version == known.metadata.version and not replace:
            raise Conflict(
                f"{known.name} {before.version} is registered: give it another version, or say replace=True",
                code="capability_exists",
            )  # fmt: skip
        return self._put(known, function)

    def register_many(self, definitions: Iterable[Mapping[str, Any]]) -> Listing:
        """Add several."""
        return [self.register(one) for one in definitions]

    def unregister(self, name: str) -> bool:
        """Take one away; whether there was one. What runs keeps it."""
        there = name in self._own
        self.workspace.unregister(name)
        return there

    def get(self, name: str) -> JsonObject | None:
        """One by its name, enabled or not."""
        found = self._own.get(name)
        return None if found is None else found.as_json()

    def has(self, name: str) -> bool:
        """Whether it is registered."""
        return name in self._own

    def enable(self, name: str) -> None:
        """Let it be planned again. Raises `NotFound`."""
        self._switch(name, "active")

    def disable(self, name: str) -> None:
        """Plan and execute it no more (R1-15). Raises `NotFound`."""
        self._switch(name, "disabled")

    def list(self) -> Listing:
        """All, by name."""
        return [self._own[name].as_json() for name in sorted(self._own)]

    def list_enabled(self) -> Listing:
        """Those that can be planned."""
        return [one for one in self.list() if one["enabled"]]

    def get_by_type(self, kind: str) -> Listing:
        """Those of a type that can be planned."""
        return [one for one in self.list_enabled() if one["type"] == kind]

    def search(self, text: str) -> Listing:
        """Those that can be planned and whose name or description has the text in it, case ignored."""
        wanted = text.casefold()
        return [one for one in self.list_enabled() if wanted in f"{one['name']}\n{one['description']}".casefold()]

    def get_stats(self) -> JsonObject:
        """How many there are, by type, and how many of them can be planned."""
        every = self.list()
        enabled = sum(one["enabled"] for one in every)
        kinds = ("tool", "agent", "service")
        by_type = {kind: sum(one["type"] == kind for one in every) for kind in kinds}
        return {"total": len(every), "enabled": enabled, "disabled": len(every) - enabled, "byType": by_type}

    def export_for_llm(self) -> Listing:
        """Those that can be planned, as a model is told of functions: name, description, parameters."""
        return [
            {"name": one["name"], "description": one["description"], "parameters": one["inputSchema"]}
            for one in self.list_enabled()
        ]

    @property
    def _own(self) -> dict[str, Capability]:
        return {name: capability for name, (capability, _) in self.workspace.registered.items()}

    def _put(self, known: Definition, function: Handler | None) -> JsonObject:
        said = known.model_dump(mode="json")
        digest, permit_for = permit_of(known.name, known.metadata.version, said, function or _nobody)
        able = known.enabled and function is not None
        made = Capability(
            known.name, TOOL, known.metadata.version, digest, permit_for, known.description, known.effects,
            "active" if able else "disabled", known.timeout / 1e3, None, (), known.input_schema, known.output_schema,
            known.type, known.metadata.owner,
        )  # fmt: skip
        self.workspace.register(made, function or _nobody)
        return made.as_json()

    def _switch(self, name: str, state: Literal["active", "disabled"]) -> None:
        if name not in self._own:
            raise NotFound(f"no capability {name} is registered here")
        capability, handler = self.workspace.registered[name]
        if state == "active" and handler is _nobody:
            raise Invalid(f"{name} was registered without a handler: nothing does it")
        self.workspace.register(dataclasses.replace(capability, state=state), handler)


def _nobody(_: Any) -> Any:
    raise Invalid("nothing does it: it was registered without a handler", code="capability_disabled")


def _definition(told: dict[str, Any]) -> Definition:
    for name in ("inputSchema", "input_schema", "outputSchema", "output_schema"):
        if isinstance(told.get(name), type) and issubclass(told[name], BaseModel):
            mode: Any = "validation" if name.startswith("in") else "serialization"
            told[name] = told[name].model_json_schema(mode=mode)
    try:
        known = Definition.model_validate(told)
    except ValidationError as fault:
        raise bodies.invalid(fault) from None
    for schema in (known.input_schema, known.output_schema):
        try:
            schemas.faults(schema, {})
        except schemas.BadSchema as fault:
            raise Invalid(f"a schema of {known.name}: {fault}") from None
    return known
