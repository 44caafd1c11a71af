"""The skill and tool registry: what can be done, by which plugin, in which version, with which effects (R4-40, R4-49).

A skill is a plugin's intent, or a plugin itself for those who ask it in words; a tool is the plugin that has it. Of
several tools the first by name is taken, so that the same plan comes from the same registry.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.contracts.errors import Conflict, NotFound, OrchestratorError
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plugins import Effects, State
from orchestrator.host.tables import Entry, Table

_AGENTS = uuid.UUID("6f7c5c8e-2a53-5d0e-9d0c-0b3a1a5f6d11")
Kind = Literal["tool", "agent", "service"]
_SERVING: tuple[State, ...] = ("active", "canary")


class NoCandidate(OrchestratorError):
    """Nothing that is there can do it (`no_candidate`)."""

    status = 412
    default_code = "no_candidate"


@dataclass(frozen=True, slots=True)
class Capability:
    """One skill of one tool. `permit_for` is what a permit to call it names; `intent` is None for free text."""

    skill: str
    tool: str
    version: str
    digest: str
    permit_for: str
    description: str
    effects: Effects
    state: State
    timeout_s: float
    intent: str | None
    keywords: tuple[str, ...] = ()
    input_schema: JsonObject = field(default_factory=lambda: {"type": "object"})
    output_schema: JsonObject = field(default_factory=dict)
    kind: Kind = "tool"
    owner: str | None = None

    @property
    def enabled(self) -> bool:
        """Whether it serves."""
        return self.state in _SERVING

    @property
    def agent_id(self) -> str:
        """The UUIDv5 of its plugin's name and version (CONTRACT 5)."""
        return str(uuid.uuid5(_AGENTS, f"{self.tool}@{self.version}"))

    def as_json(self) -> JsonObject:
        """As `GET /capabilities` lists it."""
        return {
            "name": self.skill, "type": self.kind, "tool": self.tool, "version": self.version, "digest": self.digest,
            "description": self.description, "enabled": self.enabled, "status": self.state, "effects": self.effects,
            "inputSchema": self.input_schema, "outputSchema": self.output_schema,
            "metadata": {"version": self.version, "owner": self.owner or self.tool},
        }  # fmt: skip


class Capabilities:
    """All of them, over one immutable table of plugins; those that Python code registered here come first."""

    def __init__(self, table: Table, local: Mapping[str, Capability] | None = None) -> None:
        self.table = table
        self.local = dict(local or {})
        self._by_skill: dict[str, dict[str, Capability]] = {n: {c.tool: c} for n, c in self.local.items()}
        for name in sorted(table):
            for capability in _of(table[name]):
                self._by_skill.setdefault(capability.skill, {})[capability.tool] = capability

    def __iter__(self) -> Iterator[Capability]:
        for skill in sorted(self._by_skill):
            yield from self._by_skill[skill].values()

    def get(self, skill: str, /) -> Capability | None:
        """The tool that would be chosen for a skill; one that does not serve where there is no other."""
        tools = self._by_skill.get(skill, {}).values()
        return next((tool for tool in tools if tool.enabled), next(iter(tools), None))

    def require(self, skill: str, tool: str) -> Capability:
        """A tool that serves. Raises `NotFound` for one that there is not, `Conflict` for one that is switched off."""
        found = self._by_skill.get(skill, {}).get(tool)
        if found is None:
            able = ", ".join(self._by_skill.get(skill, {})) or "nothing"
            raise NotFound(f"{tool} has no skill {skill}; {able} has", code="unknown_capability")
        if not found.enabled:
            raise Conflict(f"{tool} is {found.state}", code="capability_disabled")
        return found


def _of(entry: Entry) -> Iterator[Capability]:
    if not entry.handles:
        return
    for skill, intent in ((entry.name, None), *((intent, intent) for intent in entry.intents)):
        yield Capability(
            skill, entry.name, entry.version, entry.digest, entry.capability, entry.description, entry.effects,
            entry.state, entry.timeout_s, intent, entry.keywords if intent is None else (),
        )  # fmt: skip
