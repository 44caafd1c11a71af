"""The governor beside a model of it: whatever is asked in whatever order, both say the same (REQUIREMENTS 3.3).

Each example has a context of its own in one daemon. Steps wait at a gate until the model lets them end. A crash is the
end of all that runs, with nothing written; the next life begins from the rows.
"""

import asyncio
import builtins
import tempfile
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import update

from orchestrator.contracts.commands import Action
from orchestrator.contracts.costs import Bound
from orchestrator.contracts.errors import OrchestratorError
from orchestrator.storage import schema
from tests.campaigns.governed import World, daemon
from tests.campaigns.report import Report

MOST_COMMANDS = 5
MOST_CRASHES = 3
LONG_AGO = "2020-01-01T00:00:00.000Z"
HELD = ("awaiting_approval", "approved", "executing")


@dataclass(slots=True)
class Expected:
    """What the model holds of one command."""

    id: str
    exclusive: bool
    gate: str
    status: str = "created"
    decided: bool = False
    crashes: int = 0
    came: int = 0


class Lives:
    """One daemon on a loop of its own; examples act on it from outside."""

    def __init__(self, **settings_: Any) -> None:
        self._settings = settings_
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="governor")
        self._folder = tempfile.TemporaryDirectory(prefix="orchestrator-model-")

    def __enter__(self) -> "Lives":
        self._thread.start()
        self._daemon = daemon(Path(self._folder.name), **self._settings)
        self.running = self.do(self._daemon.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.do(self._daemon.__aexit__(kind, fault, trace))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._folder.cleanup()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Do something there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def crash(self) -> None:
        """End all runs where they are, and begin the next life."""
        commands = self.running.daemon.rooms.commands
        tasks = list(commands._runner._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await commands.open()


Gates = dict[str, tuple[asyncio.Future[bool], int]]


def gates() -> Gates:
    """The gates of both plugins, which know no other place that they could share with us, and how many came to each."""
    found: Gates = vars(builtins).setdefault("orchestrator_test_gates", {})
    return found


class Governor(RuleBasedStateMachine):
    """Acts on a few commands in one context, whose budget may cover all that is tried or hardly any of it."""

    lives: Lives

    def __init__(self) -> None:
        super().__init__()
        self.commands: list[Expected] = []
        self.spent = 0

    @initialize(cap=st.sampled_from([2, 4, 20]))
    def begin(self, cap: int) -> None:
        self.cap = cap
        self.world: World = self.lives.do(World.new(self.lives.running, Bound(tokens=cap)))

    def tried(self, work: Coroutine[Any, Any, Any]) -> str:
        """What an act came to: `ok`, or the code of its refusal."""
        try:
            self.lives.do(work)
        except OrchestratorError as fault:
            return fault.code
        return "ok"

    def reserved(self, *, but: Expected | None = None) -> int:
        return sum(one.status in HELD for one in self.commands if one is not but)

    def pick(self, number: int) -> Expected:
        return self.commands[number % len(self.commands)]

    def plannable(self, one: Expected) -> str:
        return "ok" if self.reserved(but=one) + self.spent + 1 <= self.cap else "budget_exceeded"

    def come_to_gate(self, one: Expected) -> None:
        """Wait until the step of a command that executes has been begun."""
        one.came += 1

        async def come() -> None:
            async with asyncio.timeout(20):
                while one.gate not in gates() or gates()[one.gate][1] < one.came:
                    await asyncio.sleep(0.001)

        self.lives.do(come())

    def has_commands(self) -> bool:
        return bool(self.commands)

    @precondition(lambda self: len(self.commands) < MOST_COMMANDS)
    @rule(exclusive=st.booleans())
    def create(self, exclusive: bool) -> None:
        gate = f"{self.world.context.id}/{len(self.commands)}"
        work = self.world.create("forge" if exclusive else "hold", gate=gate)
        self.commands.append(Expected(self.lives.do(work), exclusive, gate))

    @precondition(has_commands)
    @rule(number=st.integers(0, 9))
    def plan(self, number: int) -> None:
        one = self.pick(number)
        legal = one.status in ("created", "planned", "awaiting_approval")
        wanted = self.plannable(one) if legal else "illegal_transition"
        assert self.tried(self.world.plan(one.id)) == wanted
        one.status = "awaiting_approval" if wanted == "ok" else one.status

    @precondition(has_commands)
    @rule(number=st.integers(0, 9))
    def approve(self, number: int) -> None:
        one = self.pick(number)
        wanted = "ok" if one.status == "awaiting_approval" else "illegal_transition"
        assert self.tried(self.world.approve(one.id)) == wanted
        one.status = "approved" if wanted == "ok" else one.status

    @precondition(has_commands)
    @rule(number=st.integers(0, 9), steps=st.integers(1, 3))
    def go_on(self, number: int, steps: int) -> None:
        """The usual way, so that what comes late in a command's life is reached often."""
        usual = {"created": self.plan, "awaiting_approval": self.approve, "approved": self.execute}
        for _ in range(steps):
            if (act := usual.get(self.pick(number).status)) is not None:
                act(number)

    @precondition(has_commands)
    @rule(number=st.integers(0, 9))
    def reject(self, number: int) -> None:
        one = self.pick(number)
        wanted = "ok" if one.status == "awaiting_approval" else "illegal_transition"
        assert self.tried(self.world.reject(one.id)) == wanted
        one.status = "cancelled" if wanted == "ok" else one.status

    @precondition(has_commands)
    @rule(number=st.integers(0, 9))
    def cancel(self, number: int) -> None:
        one = self.pick(number)
        wanted = "illegal_transition" if one.status in ("completed", "failed") else "ok"
        assert self.tried(self.world.cancel(one.id)) == wanted
        one.status = "cancelled" if wanted == "ok" else one.status

    @precondition(has_commands)
    @rule(number=st.integers(0, 9))
    def execute(self, number: int) -> None:
        one = self.pick(number)
        others = [other for other in self.commands if other.status == "executing" and other is not one]
        locked = others if one.exclusive else [other for other in others if other.exclusive]
        if one.status not in ("approved", "executing"):
            wanted = "illegal_transition"
        else:
            wanted = "scope_locked" if locked and one.status == "approved" else "ok"
        assert self.tried(self.world.execute(one.id)) == wanted
        if wanted == "ok" and one.status == "approved":
            one.status = "executing"
            self.come_to_gate(one)

    @precondition(lambda self: any(one.status in ("awaiting_approval", "approved") for one in self.commands))
    @rule(number=st.integers(0, 9))
    def act_too_late(self, number: int) -> None:
        waiting = [one for one in self.commands if one.status in ("awaiting_approval", "approved")]
        one = waiting[number % len(waiting)]
        a = schema.approvals.c
        live = (a.command_id == one.id, a.state.in_(("pending", "approved")))
        over = update(schema.approvals).where(*live).values(expires_at=LONG_AGO)
        self.lives.do(self.lives.running.daemon.rooms.store.write(lambda tx: tx.execute(over) and None))
        act = self.world.approve if one.status == "awaiting_approval" else self.world.execute
        assert self.tried(act(one.id)) in ("approval_expired", "illegal_transition")  # the sweeper may have come first
        one.status = "cancelled"

    @precondition(lambda self: any(one.status == "executing" for one in self.commands))
    @rule(number=st.integers(0, 9), well=st.booleans())
    def end_a_step(self, number: int, well: bool) -> None:
        running = [one for one in self.commands if one.status == "executing"]
        one = running[number % len(running)]

        async def open_gate() -> None:
            gates()[one.gate][0].set_result(well)

        self.lives.do(open_gate())
        one.status = "completed" if well else "failed"
        assert self.lives.do(self.world.ended(one.id)) == one.status
        self.spent += 1
        gates().pop(one.gate)
        one.came = 0

    @precondition(has_commands)
    @rule(number=st.integers(0, 9), action=st.sampled_from(["retry", "modify", "discard"]))
    def decide(self, number: int, action: Action) -> None:
        failed = [one for one in self.commands if one.status == "failed"]
        one = failed[number % len(failed)] if failed and number < 8 else self.pick(number)
        work = self.world.commands.decide(one.id, action, self.world.context, self.world.person)
        if one.status != "failed" or one.decided:
            wanted = "illegal_transition"
        else:
            wanted = "ok" if action == "discard" else self.plannable(one)
        assert self.tried(work) == wanted
        if wanted == "ok" and action == "discard":
            one.decided = True
        elif wanted == "ok":
            one.status, one.crashes = "awaiting_approval", 0

    @precondition(lambda self: any(one.status == "executing" for one in self.commands))
    @rule()
    def crash(self) -> None:
        self.lives.do(self.lives.crash())
        for one in self.commands:
            if one.status == "executing":
                one.crashes += 1
                if one.exclusive or one.crashes >= MOST_CRASHES:
                    one.status = "failed"
                    assert self.lives.do(self.world.ended(one.id)) == "failed"
                else:
                    self.come_to_gate(one)

    @precondition(has_commands)
    @invariant()
    def both_say_the_same(self) -> None:
        told = [self.lives.do(self.world.status(one.id)) for one in self.commands]
        assert told == [one.status for one in self.commands]
        assert self.lives.do(self.world.held()) == (self.reserved(), self.spent)
        holders = {lock["holder"] for lock in self.lives.do(self.world.locks())}
        assert holders == {one.id for one in self.commands if one.status == "executing"}

    def teardown(self) -> None:
        for one in self.commands:
            self.tried(self.world.cancel(one.id))


def campaign_in(lives: Lives, examples: int, steps: int) -> None:
    """So many examples of so many steps; raises where the two differ, with the steps that lead there."""
    machine = type("Governor", (Governor,), {"lives": lives})
    unhurried = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, database=None, print_blob=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=unhurried)


async def campaign(examples: int = 200, steps: int = 50, **settings_: Any) -> Report:
    """The model campaign on one database; `settings_` are the daemon's, such as its store's address."""

    def run() -> None:
        with Lives(**settings_) as lives:
            campaign_in(lives, examples, steps)

    report = Report(f"the governor beside a model of it, {examples} examples of {steps} steps")
    try:
        await asyncio.to_thread(run)
    except AssertionError as fault:
        report.nothing("differences", "\n".join([str(fault), *getattr(fault, "__notes__", [])]))
    else:
        report.nothing("differences", [])
    return report
