"""Where a query goes: the plugin named, else the intent, else a routing hook, else keywords (CONTRACT 2, R2-07)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from orchestrator.contracts.errors import Forbidden, Invalid, NotFound, PluginFailed
from orchestrator.contracts.queries import Candidate, QueryRequest, Route
from orchestrator.routing.denied import Denials
from orchestrator.routing.ranking import KeywordIndex
from orchestrator.routing.settings import RoutingSettings
from orchestrator.routing.words import words


class Routable(Protocol):
    """What routing needs to know of a plugin."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def intents(self) -> Sequence[str]: ...
    @property
    def keywords(self) -> Sequence[str]: ...
    @property
    def handles(self) -> bool: ...


Hook = Callable[[QueryRequest, list[Candidate]], Awaitable[tuple[str, float] | None]]


class Router:
    """Routes over one immutable table of plugins; a changed table makes a new router."""

    def __init__(self, table: Mapping[str, Any], settings: RoutingSettings) -> None:
        self.table = table
        self._near_misses = settings.near_misses
        self._denials = Denials(settings)
        self._all: Mapping[str, Routable] = table
        serving = {n: p for n, p in self._all.items() if p.state in ("active", "canary") and p.handles}
        self._serving = serving
        self._index = KeywordIndex({name: plugin.keywords for name, plugin in serving.items()})
        self._by_intent: dict[str, list[str]] = {}
        for name in sorted(serving):
            for intent in serving[name].intents:
                self._by_intent.setdefault(intent, []).append(name)

    async def route(self, request: QueryRequest, hook: Hook | None) -> tuple[str, Route]:
        """The plugin that answers, and why. Raises `Invalid` (`no_route`), `Forbidden` (`capability_disabled`)."""
        self._denials.refuse_intent(request.intent)
        if request.plugin is not None:
            return self._named(request.plugin)
        if request.intent is not None:
            return self._by_its_intent(request)
        text_words = words(request.text)
        self._denials.refuse_words(text_words)
        candidates = self._index.rank(text_words)
        if hook is not None and (answer := await hook(request, candidates)) is not None:
            plugin, score = answer
            return plugin, Route(by="hook", score=score, candidates=candidates)
        if candidates:
            return candidates[0].plugin, Route(by="keywords", score=candidates[0].score, candidates=candidates)
        raise self._no_route("no plugin's keywords stand in this text", request.text)

    def rank(self, text: str) -> list[tuple[str, float]]:
        """The plugins of whose keywords a text has most. Raises `Forbidden` (`capability_disabled`)."""
        text_words = words(text)
        self._denials.refuse_words(text_words)
        return [(candidate.plugin, candidate.score) for candidate in self._index.rank(text_words)]

    def _named(self, name: str) -> tuple[str, Route]:
        plugin = self._all.get(name)
        if plugin is None:
            raise self._no_route(f"there is no plugin {name}", name)
        if name not in self._serving:
            raise _not_serving(plugin)
        return name, Route(by="plugin", score=1.0, candidates=[Candidate(plugin=name, score=1.0)])

    def _by_its_intent(self, request: QueryRequest) -> tuple[str, Route]:
        able = self._by_intent.get(request.intent or "", [])
        if not able:
            raise self._no_route(f"no plugin has the intent {request.intent}", f"{request.intent} {request.text}")
        if len(able) > 1:
            fit = {c.plugin: c.score for c in self._index.rank(words(request.text))}
            able = sorted(able, key=lambda name: (-fit.get(name, 0.0), name))
        candidates = [Candidate(plugin=name, score=1.0) for name in able]
        return able[0], Route(by="intent", score=1.0, candidates=candidates)

    def _no_route(self, why: str, text: str) -> Invalid:
        nearest = self._index.nearest(text, self._near_misses)
        known = f"; nearest: {', '.join(c.plugin for c in nearest)}" if nearest else ""
        extra = {"nearest": [c.model_dump() for c in nearest], "intents": sorted(self._by_intent)[:50]}
        return Invalid(why + known, code="no_route", extra=extra)


def _not_serving(plugin: Routable) -> Exception:
    if plugin.state == "disabled":
        return Forbidden(f"the plugin {plugin.name} is disabled", code="capability_disabled")
    if plugin.state == "quarantined":
        return Forbidden(f"the plugin {plugin.name} is in quarantine", code="capability_disabled")
    if plugin.state == "broken":
        return PluginFailed(f"the plugin {plugin.name} is broken; GET /plugins/{plugin.name} says why")
    return NotFound(f"the plugin {plugin.name} answers no queries")
