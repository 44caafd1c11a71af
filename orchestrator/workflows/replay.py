"""`PlanReplay`: what was recorded of plans, read again; nothing is executed (R1-24 to R1-27)."""

import inspect
from collections.abc import Callable
from typing import Any

from orchestrator.contracts.errors import NotFound
from orchestrator.contracts.plans import PlanEvent
from orchestrator.plans import archives, history
from orchestrator.plans.history import Moment, Stats
from orchestrator.workflows.registry import CapabilityRegistry
from orchestrator.workflows.workspace import Workspace


class PlanReplay:
    """Histories by plan. An `Executor` that has it records here what it executed; `load` reads any other."""

    def __init__(self, registry: CapabilityRegistry | None = None) -> None:
        self._workspace = Workspace.of() if registry is None else registry.workspace
        self._known: dict[str, list[PlanEvent]] = {}

    async def load(self, plan_id: str) -> list[PlanEvent]:
        """Read a plan's history as it is now. Raises `NotFound`."""
        async with self._workspace as opened:
            path = f"/v1/plans/{opened.taken_in.get(plan_id, plan_id)}/replay"
            told = await opened.ask("GET", path)
        self._known[plan_id] = [PlanEvent.model_validate(one) for one in told["items"]]
        return self._known[plan_id]

    async def replay(self, plan_id: str, tell: Callable[[PlanEvent], Any]) -> int:
        """Call `tell`, plain or async, with each entry in the order of recording; how many there were."""
        events = self._known.get(plan_id) or await self.load(plan_id)
        for event in events:
            answer = tell(event)
            if inspect.isawaitable(answer):
                await answer
        return len(events)

    def get_timeline(self, plan_id: str) -> list[Moment]:
        """What happened when, with the durations in ms of what ended. Raises `NotFound` before `load`."""
        return history.timeline(self._events(plan_id))

    def get_stats(self, plan_id: str) -> Stats:
        """Sums over it. Raises `NotFound` before `load`."""
        return history.stats(self._events(plan_id))

    def export(self, plan_id: str) -> str:
        """The history as JSON text, canonical. Raises `NotFound` before `load`."""
        events = self._events(plan_id)
        return archives.exported(events, events[0].plan_id if events else plan_id).decode()

    def import_(self, text: str) -> str:
        """Read an exported history, and answer its plan's id. Raises `Invalid` (`history_invalid`)."""
        plan_id, events = archives.imported(text.encode())
        self._known[plan_id] = events
        return plan_id

    def _events(self, plan_id: str) -> list[PlanEvent]:
        if plan_id not in self._known:
            raise NotFound(f"the history of {plan_id} is not loaded: await replay.load({plan_id!r})")
        return self._known[plan_id]
