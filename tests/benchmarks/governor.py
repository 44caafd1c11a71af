"""What the governor costs: a plan of ten trivial steps beside the same calls bare, and `/query`'s way with and without it.

Bare are ten calls of the plugin through the host, each with a permit. Without the governor means: the desk takes a query
to its plugin with a permit that nobody looks for, makes or checks; routing, host and the durable audit row stay.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.contracts.callers import Caller, Scope
from orchestrator.contracts.queries import QueryRequest
from orchestrator.host.calls import HANDLE, Call, HandleMessage
from orchestrator.kernel.ids import new_id
from orchestrator.testing.daemons import Running
from tests.campaigns.governed import World, daemon

STEPS = 10
STEP_BAR_MS, QUERY_BAR = 2.0, 1.5


async def measure(rounds: int = 100) -> AsyncIterator[str]:
    """Lines of the table, as they are known."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as folder:
        async with daemon(Path(folder)) as target:
            world = await World.new(target)
            bare, governed = [], []
            for _ in range(rounds):
                bare.append(await _timed(lambda: _bare(target)))
                governed.append(await _governed(world))
            more = (statistics.median(governed) - statistics.median(bare)) / STEPS
            yield f"a plan of {STEPS} trivial steps, {rounds} rounds   p50 in ms"
            yield f"  the calls alone                      {statistics.median(bare):8.2f}"
            yield f"  planned, approved, journalled        {statistics.median(governed):8.2f}"
            yield f"  more for each step                   {more:8.2f}   (bar {STEP_BAR_MS:g})"
            with_it, without = await _queries(target, rounds * 10)
            yield f"a query, {rounds * 10} rounds                   p50 in ms"
            yield f"  without the governor                 {without:8.2f}"
            yield f"  with it                              {with_it:8.2f}   {with_it / without:.2f} x (bar {QUERY_BAR:g})"


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1e3


async def _bare(target: Running) -> None:
    rooms = target.daemon.rooms
    plugin = rooms.host.table()["look"]
    caller = Caller(target.daemon.operator.id, "person", frozenset({Scope.ADMIN}))
    for _ in range(STEPS):
        call_id = new_id()
        permit = await rooms.desk._grants.plugin_permit("look", plugin.digest, call_id, caller)
        request = {"id": call_id, "text": "look", "intent": "look", "params": {}, "source": "command"}
        call = Call(call_id, caller, permit, rooms.clock.monotonic() + 30)
        await target.daemon.bus.ask(HANDLE, HandleMessage("look", request, call))


async def _governed(world: World) -> float:
    """From `execute` to the end that is on disk."""
    steps = [
        {"id": f"s{n}", "type": "tool", "name": "look", "description": "look", "params": {}} for n in range(STEPS)
    ]  # fmt: skip
    command_id = await world.of_intent(json.dumps({"steps": steps}))
    await world.plan(command_id)
    await world.approve(command_id)
    began = time.perf_counter()
    await world.execute(command_id)
    if (task := world.commands._runner._tasks.get(command_id)) is not None:
        await asyncio.wait({task})
    took = (time.perf_counter() - began) * 1e3
    assert await world.status(command_id) == "completed"
    return took


async def _queries(target: Running, rounds: int) -> tuple[float, float]:
    """Medians of a query's way with the governor and without, measured by turns."""
    desk, caller = target.daemon.rooms.desk, Caller("loopback", "loopback", frozenset({Scope.QUERY}))
    grants, dispatch = desk._grants, desk._host._dispatch
    check = dispatch._check
    permit = await grants.plugin_permit("look", desk._host.table()["look"].digest, "any", caller)

    class Nobody:
        async def plugin_permit(self, name: str, digest: str, subject: str, *_: Any) -> Any:
            return replace(permit, subject=subject)

    took: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds * 2):
        governed = number % 2 == 0
        desk._grants = grants if governed else Nobody()  # type: ignore[assignment]
        dispatch._check = check if governed else lambda *_: None
        took[governed].append(await _timed(lambda: desk.answer(QueryRequest(text="x", intent="look"), caller)))
    desk._grants, dispatch._check = grants, check
    return statistics.median(took[True]), statistics.median(took[False])
