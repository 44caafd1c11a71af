"""Plugin code in the daemon's own process: async on the loop, sync in the plugin's threads, each with a deadline.

Whatever the code does (raise, leave, hang, swallow its cancellation) ends its own call alone. Outcomes are built where
the plugin's code ran, because even the text of an exception is its code.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.contracts.errors import OrchestratorError, PluginFailed, PluginTimeout
from orchestrator.host.answers import LIGHT_NODES, Heavy, NotJson, encode
from orchestrator.host.calls import Reply, current_call
from orchestrator.host.faults import SourceLine, told
from orchestrator.host.jobs import Job
from orchestrator.host.managers import Listener
from orchestrator.host.registry import Hook
from orchestrator.host.watchdog import LoopHeld
from orchestrator.kernel.threads import DaemonThreads
from orchestrator.sdk.records import Record


class Tasks(Protocol):
    """Where tasks live: `kernel.tasks.Supervisor` in the daemon."""

    def child(self, name: str, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]": ...


@dataclass(slots=True)
class Outcome:
    """How a piece of plugin code ended: a reply, a fault, or (from a sync function) something still to be awaited."""

    reply: Reply | None = None
    fault: OrchestratorError | None = None
    pending: Any = None
    heavy: Any = None

    def result(self) -> Reply:
        """The reply, or raise the fault."""
        if self.fault is not None:
            raise self.fault
        if self.reply is None:
            raise PluginFailed("the plugin's call was stopped before it began")
        return self.reply


class Inline:
    """Runs the functions of one plugin version."""

    def __init__(self, plugin: str, tasks: Tasks, threads: DaemonThreads, max_bytes: int, line_of: SourceLine) -> None:
        self._plugin = plugin
        self._task_name = f"plugin.{plugin}"
        self._tasks = tasks
        self._threads = threads
        self._max_bytes = max_bytes
        self._line_of = line_of

    async def call(self, hook: Hook, arguments: Mapping[str, Any], seconds: float, call: Any = None) -> Reply:
        """Call a hook and check that what it answers is JSON.

        Raises `PluginTimeout` after `seconds`, `PluginFailed`, `Invalid` for a `Refused`, and faults of the daemon that
        the plugin let through.
        """
        if hook.is_async:
            return (await self._on_loop(hook(arguments), seconds, call)).result()
        until = asyncio.get_running_loop().time() + seconds
        outcome = await self.in_thread(lambda: self._outcome(lambda: hook(arguments), call), seconds)
        if outcome is not None and outcome.pending is not None:
            left = max(0.0, until - asyncio.get_running_loop().time())
            outcome = await self._on_loop(outcome.pending, left, call)
        return (outcome or Outcome()).result()

    async def in_thread(self, work: Callable[[], Any], seconds: float) -> Any:
        """Run `work` in one of the plugin's threads; after `seconds` raise `PluginTimeout` and let it go."""
        job = Job(work)
        context = contextvars.copy_context()
        try:
            async with asyncio.timeout(seconds):
                return await self._threads.run(lambda: context.run(job))
        except TimeoutError:
            raise self._late(seconds) from None
        finally:
            job.stop()

    async def perform(self, hook: Hook, arguments: Mapping[str, Any], seconds: float) -> None:
        """Call a hook whose answer means nothing and need not be JSON. Raises as `call` does."""
        silent = Hook(lambda *given: _discard(hook.function(*given)), hook.names, hook.is_async)
        await self.call(silent, arguments, seconds)

    async def deliver(self, listener: Listener, event: dict[str, Any], seconds: float) -> None:
        """Call a listener with an event; it answers nobody, so it has no call. Raises as `call` does."""
        hook = Hook(listener, ("event",), inspect.iscoroutinefunction(listener))
        await self.perform(hook, {"event": Record(event)}, seconds)

    async def _on_loop(self, work: Any, seconds: float, call: Any) -> Outcome:
        """Await `work` in a task of its own, and no longer than `seconds`, even if it ignores that it is cancelled."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[Outcome | None] = loop.create_future()
        timer = loop.call_later(seconds, _settle, over, None)
        task = self._tasks.child(self._task_name, self._awaited(work, call, over))
        try:
            outcome = await over
        finally:
            timer.cancel()
            if not over.done() or over.cancelled() or over.result() is None:
                task.cancel()
        if outcome is None:
            raise self._late(seconds)
        if outcome.heavy is not None:
            value, outcome.heavy = outcome.heavy, None
            return await self._encoded(value, seconds)
        return outcome

    async def _encoded(self, value: Any, seconds: float) -> Outcome:
        """Check and encode a large value in a thread, so that the loop goes on meanwhile."""
        outcome: Outcome = await self.in_thread(lambda: self._outcome(lambda: value, None), seconds)
        return outcome

    async def _awaited(self, work: Any, call: Any, over: "asyncio.Future[Outcome | None]") -> None:
        """Settling `over` here, not when the task has ended, spares the loop a round."""
        current_call.set(call)
        try:
            value = await work
            try:
                outcome = Outcome(reply=encode(value, self._max_bytes, LIGHT_NODES))
            except Heavy:
                outcome = Outcome(heavy=value)
        except BaseException as fault:  # noqa: BLE001 - SystemExit of a plugin too must not reach the loop
            outcome = self._failed(fault)
        _settle(over, outcome)

    def _outcome(self, work: Callable[[], Any], call: Any) -> Outcome:
        current_call.set(call)
        try:
            value = work()
            if inspect.isawaitable(value):
                return Outcome(pending=value)
            return Outcome(reply=encode(value, self._max_bytes))
        except BaseException as fault:  # noqa: BLE001 - SystemExit of a plugin too ends its own call alone
            return self._failed(fault)

    def _failed(self, fault: BaseException) -> Outcome:
        if isinstance(fault, NotJson):
            why = fault.of("answer")
            return Outcome(fault=PluginFailed(f"the plugin {self._plugin} answered what is not JSON: {why}"))
        if isinstance(fault, LoopHeld):
            return Outcome(fault=PluginTimeout(f"the plugin {self._plugin} held the event loop and was interrupted"))
        try:
            return Outcome(fault=told(self._plugin, fault, self._line_of))
        except BaseException:  # noqa: BLE001 - an exception made to break whoever looks at it
            return Outcome(fault=PluginFailed(f"the plugin {self._plugin} raised an exception that cannot be told"))

    def _late(self, seconds: float) -> PluginTimeout:
        return PluginTimeout(f"the plugin {self._plugin} did not answer within {seconds:.3g} s")


def _settle(over: "asyncio.Future[Any]", outcome: Outcome | None) -> None:
    if not over.done():
        over.set_result(outcome)


def _discard(value: Any) -> Any:
    """Keep a coroutine to be awaited; a listener's other answers mean nothing and need not be JSON."""
    return _nothing(value) if inspect.isawaitable(value) else None


async def _nothing(work: Any) -> None:
    await work
