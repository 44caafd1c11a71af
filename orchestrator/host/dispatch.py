"""Calling a plugin: permit, breaker, deadline, counting; and asking the routing hooks."""

from math import isfinite
from typing import Any

import structlog

from orchestrator.contracts.errors import Invalid, NotFound, OrchestratorError, PluginFailed, PluginTimeout
from orchestrator.contracts.permits import PermitCheck
from orchestrator.host.calls import Call, Reply
from orchestrator.host.generations import Generation
from orchestrator.host.roster import Roster
from orchestrator.host.slots import Slot
from orchestrator.kernel.clock import Clock

log = structlog.get_logger("host")


class Dispatch:
    """Sends requests to the plugins of a roster."""

    def __init__(self, roster: Roster, check: PermitCheck, clock: Clock, route_hook_s: float) -> None:
        self._roster = roster
        self._check = check
        self._clock = clock
        self._route_hook_s = route_hook_s

    async def handle(self, name: str, request: dict[str, Any], call: Call, hook: str = "handle") -> Reply:
        """Let a plugin answer, by `handle` or a hook that comes after it. Raises as `Host.handle` says."""
        slot, generation = self._chosen(name, call, hook)
        self._check(call.permit, generation.capability, call.query_id)
        began = self._clock.monotonic()
        seconds = min(generation.manifest.timeout_s, call.deadline - began)
        if seconds <= 0:
            raise PluginTimeout(f"the query's time was over before the plugin {name} began")
        breaker = slot.breaker
        if (wait_s := breaker.admit(began)) is not None:
            raise _resting(name, wait_s)
        generation.enter()
        failed = False
        try:
            bounded = Call(call.query_id, call.caller, call.permit, began + seconds)
            reply = await generation.version.handle(request, bounded, seconds, hook)
            breaker.succeeded()
            return reply
        except (PluginFailed, PluginTimeout) as fault:
            failed = True
            breaker.failed(self._clock.monotonic())
            log.warning("plugin.failed", plugin=name, query=call.query_id, why=fault.detail, traceback=_own(fault))
            raise
        except OrchestratorError:
            breaker.succeeded()
            raise
        except BaseException:
            breaker.abandoned()
            raise
        finally:
            generation.leave()
            slot.counts.add((self._clock.monotonic() - began) * 1000, failed=failed)

    async def route_hooks(self, request: dict[str, Any], candidates: list[dict[str, Any]]) -> tuple[str, float] | None:
        """The first valid answer of the routing hooks, asked in the order of their names."""
        table = self._roster.table
        for name in sorted(table):
            slot = self._roster.slot(name)
            if not table[name].routes or slot is None or slot.generation is None:
                continue
            answer = await self._asked(slot, slot.generation, _copied(request), _copied(candidates))
            if answer is not None and (route := self._valid(name, answer)) is not None:
                return route
        return None

    async def _asked(self, slot: Slot, generation: Generation, request: Any, candidates: Any) -> Any:
        """One hook's answer; one that fails is logged and left alone for a while when it keeps failing."""
        breaker = slot.route_breaker
        if breaker.admit(self._clock.monotonic()) is not None:
            return None
        generation.enter()
        try:
            answer = await generation.version.route(request, candidates, self._route_hook_s)
            breaker.succeeded()
            return answer
        except OrchestratorError as fault:
            breaker.failed(self._clock.monotonic())
            log.warning("plugin.route_failed", plugin=slot.name, why=fault.detail, traceback=_own(fault))
            return None
        except BaseException:
            breaker.abandoned()
            raise
        finally:
            generation.leave()

    def _valid(self, hook: str, answer: Any) -> tuple[str, float] | None:
        """The route that a hook named, or None, logged, if no query could take it."""
        plugin = answer.get("plugin") if isinstance(answer, dict) else None
        score = answer.get("score", 1.0) if isinstance(answer, dict) else None
        entry = self._roster.table.get(plugin) if isinstance(plugin, str) else None
        number = isinstance(score, int | float) and not isinstance(score, bool) and isfinite(score)
        if entry is None or entry.state not in ("active", "canary") or not entry.handles or score is None or not number:
            log.warning("plugin.route_ignored", plugin=hook, answer=str(answer)[:200])
            return None
        return entry.name, min(1.0, max(0.0, float(score)))

    def _chosen(self, name: str, call: Call, hook: str) -> tuple[Slot, Generation]:
        """The version that the permit is for, while it lives; else the one in service, which the check will judge."""
        slot, generation = self._roster.serving(name, call.permit.capability)
        if slot is None:
            raise NotFound(f"there is no plugin {name}")
        if generation is None:
            raise Invalid(f"the plugin {name} is {slot.state}; GET /plugins/{name} says why", code="no_route")
        if hook not in generation.version.hooks:
            raise Invalid(f"the plugin {name} does not do that: it has no `{hook}`", code="no_route")
        return slot, generation


def _resting(name: str, wait_s: float) -> PluginFailed:
    return PluginFailed(
        f"the plugin {name} has failed too often in a row and is left alone for {wait_s:.1f} s",
        headers={"Retry-After": str(max(1, round(wait_s)))},
    )


def _own(fault: OrchestratorError) -> str | None:
    return fault.traceback if isinstance(fault, PluginFailed) else None


def _copied(value: Any) -> Any:
    """A deep copy of a JSON value: what one hook does to it must not show in the next."""
    if isinstance(value, dict):
        return {key: _copied(member) for key, member in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
