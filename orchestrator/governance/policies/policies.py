"""Asking the hooks (R1-18 to R1-22). The first that denies ends it; one that raises, hangs or is unclear denies.

Hooks are those of the settings, and those that Python code gives for one command. An execution that was begun with
hooks of the second kind is not gone on with where they are not: another process has not got them.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pydantic_core
import structlog

from orchestrator.contracts.errors import OrchestratorError
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.plans import PlanStep
from orchestrator.contracts.values import plain
from orchestrator.kernel.tasks import Supervisor
from orchestrator.kernel.threads import DaemonThreads
from orchestrator.plans import templates, validation
from orchestrator.plans.faults import TemplateError
from orchestrator.plans.paths import Scope
from orchestrator.sdk.policies import PolicyHook
from orchestrator.sdk.records import Record

log = structlog.get_logger("policies")
_THREADS = 8
_MOST_REASON = 500
Row = Mapping[Any, Any]
"""Of a command."""


class HookFault(Exception):
    """A hook did not answer as it should."""


class Policies:
    """The hooks of one daemon."""

    def __init__(self, hooks: Sequence[PolicyHook], supervisor: Supervisor, timeout_s: float) -> None:
        self._hooks = list(hooks)
        self._given: dict[str, Sequence[PolicyHook]] = {}
        self._supervisor = supervisor
        self._timeout_s = timeout_s
        self._threads = DaemonThreads("policies", _THREADS)

    def close(self) -> None:
        """Let the threads of hooks end."""
        self._threads.close()

    def give(self, command_id: str, hooks: Sequence[PolicyHook]) -> None:
        """Have these asked, too, for one command; until `take_back`."""
        self._given[command_id] = hooks

    def take_back(self, command_id: str) -> None:
        """Ask them no more."""
        self._given.pop(command_id, None)

    def asked(self, row: Row) -> bool:
        """Whether any hook is asked for this command."""
        return bool(self._hooks or self._given.get(row["id"]) or _named(row))

    async def denial(self, row: Row, step: PlanStep, scope: Scope) -> str | None:
        """Why a step may not run; None if it may. `scope` has the outputs that its params refer to."""
        lacking = sorted(set(_named(row)) - {hook.name for hook in self._given.get(row["id"], ())})
        if lacking:
            return f"the policy hook {lacking[0]} is not here, and the execution was begun with it"
        for hook in self._of(row):
            try:
                verdict = await self._call(hook.pre_execution, _step(step, scope), _context(row))
            except HookFault as fault:
                log.warning("policy.denied_by_fault", hook=hook.name, fault=str(fault))
                return f"the policy hook {hook.name} {fault}, and that is a no"
            if not (isinstance(verdict, Mapping) and verdict.get("allow") is True):
                return _reason(hook, verdict)
        return None

    async def ended(
        self, row: Row, step: PlanStep, seconds: float, fault: OrchestratorError | None, output: bytes = b"null"
    ) -> None:  # fmt: skip
        """Tell all hooks how a step went. The params that they see are as they were approved (R4-06)."""
        if not self.asked(row):
            return
        result: JsonObject = {"stepId": step.id, "status": "completed", "duration": seconds * 1e3}
        if fault is None:
            result["output"] = pydantic_core.from_json(output)
        else:
            result |= {"status": "failed", "error": fault.detail}
        for hook in self._of(row):
            try:
                await self._call(hook.post_execution, _step(step), Record(result), _context(row))
            except HookFault as fault:
                log.warning("policy.not_told", hook=hook.name, fault=str(fault))

    def _of(self, row: Row) -> Iterator[PolicyHook]:
        yield from self._hooks
        yield from self._given.get(row["id"], ())

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a hook answers. Raises `HookFault` where it raised, or did not answer in time."""
        task = self._supervisor.child("policy hook", _guarded(self._threads, function, arguments))
        try:
            await asyncio.wait({task}, timeout=self._timeout_s)
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            raise HookFault(f"did not answer within {self._timeout_s:g} s")
        value, fault = task.result()
        if fault is not None:
            raise HookFault(f"raised {fault}")
        return value


async def _guarded(threads: DaemonThreads, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """What it answers, or the name of what it raised: even what would end the program is a hook's own fault."""
    try:
        if inspect.iscoroutinefunction(function):
            return await function(*arguments), None
        value = await threads.run(lambda: function(*arguments))
        return (await value if inspect.isawaitable(value) else value), None
    except BaseException as fault:
        task = asyncio.current_task()
        if isinstance(fault, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        log.warning("policy.raised", exc_info=fault)
        return None, type(fault).__name__


def _named(row: Row) -> Sequence[str]:
    """The hooks that an execution was begun with, beside those of the settings."""
    named: Sequence[str] = (row["execution_context"] or {}).get("hooks", ())
    return named


def _context(row: Row) -> Record:
    told = (row["execution_context"] or {}).get("told") or {}
    user = told.get("userId") or told.get("user_id") or row["identity_id"]
    return Record(
        {
            **told, "userId": user, "identityId": row["identity_id"], "contextId": row["context_id"],
            "commandId": row["id"], "executionId": row["execution_id"], "sphere": row["sphere"],
        }
    )  # fmt: skip


def _step(step: PlanStep, scope: Scope | None = None) -> Record:
    """A step as a hook sees it; with a scope, its params as they will reach the capability."""
    told = step.model_dump(mode="json")
    if scope is not None:
        try:
            told["params"] = templates.bind(validation.capability_params(step), scope)
        except TemplateError:
            log.debug("policy.params_unbound", step=step.id)  # then the step itself fails for it
    return Record(told)


def _reason(hook: PolicyHook, verdict: Any) -> str:
    said = verdict.get("reason") if isinstance(verdict, Mapping) else None
    if isinstance(said, str) and said:
        return plain(said, _MOST_REASON)
    return f"the policy hook {hook.name} denied it"
