"""Doing what was approved: step by step, each written down before it begins and after it ended (R4-19, R4-34).

All that a run knows is in the store, so that it can be taken up by another daemon after a crash. Whatever it writes, it
writes only while its command is executing and its fencing token holds the scope.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import RowMapping, update

from orchestrator.audit.entries import Entry
from orchestrator.contracts.errors import Forbidden, Invalid, OrchestratorError, Unavailable, Violation
from orchestrator.governance import alarms, contexts, prices
from orchestrator.governance.commands import (
    approvals,
    bases,
    budgets,
    failures,
    journal,
    locks,
    records,
    retries,
    runs,
)
from orchestrator.governance.commands.bases import Basis
from orchestrator.governance.commands.calls import Calls, longest_s
from orchestrator.governance.commands.drafts import DraftStep
from orchestrator.governance.commands.endings import alarm_of, keep_result, step_ended
from orchestrator.governance.commands.runs import Lost, Run, Stale
from orchestrator.governance.contexts import scope_of
from orchestrator.governance.plans.telling import PlanJournal
from orchestrator.governance.policies.policies import Policies
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.kernel.clock import Clock, later, rfc3339
from orchestrator.kernel.tasks import Supervisor
from orchestrator.plans import scheduling, waits
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import execution_plans

log = structlog.get_logger("commands")
Sleep = Callable[[float], Awaitable[None]]
_AGAIN_S = 1.0
MAX_CRASHES = 3
"""In so many attempts at one step a daemon may die before the step counts as poison (3.2)."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """How one attempt of a step ended: its output as JSON, or what went wrong; and how long it took."""

    output: bytes = b"null"
    fault: OrchestratorError | None = None
    seconds: float = 0.0


class Runner:
    """Runs commands that are executing, each as a task of its own."""

    def __init__(
        self, store: Store, journal_: PlanJournal, blobs: Blobs, calls: Calls, policies: Policies, clock: Clock,
        supervisor: Supervisor, settings: GovernanceSettings, sleep: Sleep = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._store = store
        self._journal = journal_
        self._blobs = blobs
        self._calls = calls
        self._policies = policies
        self._clock = clock
        self._supervisor = supervisor
        self._settings = settings
        self._sleep = sleep
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._closed = False

    async def close(self) -> None:
        """Leave all commands where they are, for the next daemon: before what they call goes away and seems to fail."""
        self._closed = True
        while tasks := list(self._tasks.values()):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_AGAIN_S)

    def start(self, run: Run) -> None:
        """Go on with a command that is executing, from where its rows say it is."""
        if self._closed:
            return
        task = self._supervisor.child(f"command {run.command_id}", self._run(run))
        self._tasks[run.command_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(run.command_id, None))

    def cancel(self, command_id: str) -> None:
        """End the work of a command that was cancelled."""
        if (task := self._tasks.get(command_id)) is not None:
            task.cancel()

    async def take_up(self, run: Run) -> None:
        """After a crash: decide what becomes of attempts under way, and go on."""

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            row, now = self._held(tx, run)
            entries = []
            for attempt in journal.under_way(tx, run.command_id, run.plan_version):
                step = run.draft.steps[attempt["step_index"]]
                if step.step.type != "wait":  # a wait has lost nothing: it goes on
                    entries += self._crashed(tx, row, run, step, now)
            return None, entries

        await self._journal.write(work)
        self.start(run)

    async def _run(self, run: Run) -> None:
        keeping = self._supervisor.child(f"lock of {run.command_id}", self._keep_lock(run))
        try:
            with contextlib.suppress(Stale):
                try:
                    async with asyncio.timeout(await self._left_s(run)):
                        while (todo := await self._next(run)) is not None:
                            await self._together(run, todo)
                except TimeoutError:
                    await self._give_up(run, "the command's maxDuration was over")
                except Lost:
                    await self._journal.write(lambda tx: self._lost(tx, run))
                except Stale:
                    raise
                except Exception as fault:  # whatever it is, nobody may wait for this command for ever
                    log.error("command.broke", command=run.command_id, exc_info=fault)
                    await self._give_up(run, "the daemon could not go on with it; its log says why")
        finally:
            keeping.cancel()

    async def _left_s(self, run: Run) -> float | None:
        """How long the command may still take, of its `maxDuration`; None where it says nothing."""

        def work(tx: Tx) -> tuple[Any, str | None, str]:
            row = records.load(tx, run.command_id)
            return row["asked"].get("constraints"), journal.began(tx, run.command_id), self._store.now(tx)

        constraints, began, now = await self._store.read(work)
        most_ms = (constraints or {}).get("maxDuration")
        if most_ms is None:
            return None
        used = datetime.fromisoformat(now) - datetime.fromisoformat(began or now)
        return max(0.0, float(most_ms) / 1e3 - used.total_seconds())

    async def _give_up(self, run: Run, why: str) -> None:
        """Fail a command where it is, as soon as the store can be told."""
        while True:
            try:
                return await self._journal.write(lambda tx: self._given_up(tx, run, why))
            except Unavailable as fault:
                log.warning("command.not_written", command=run.command_id, reason=fault.detail)
                await asyncio.sleep(_AGAIN_S)

    def _given_up(self, tx: Tx, run: Run, why: str) -> tuple[None, list[Entry]]:
        row, now = self._held(tx, run)
        entries = []
        for attempt in journal.under_way(tx, run.command_id, run.plan_version):
            step = run.draft.steps[attempt["step_index"]]
            entries.append(step_ended(tx, row, step, "failed", why, category="timeout"))
        records.stop_steps(tx, row, now, why)
        return None, [*entries, self._finish(tx, row, "failed", now)]

    def _lost(self, tx: Tx, run: Run) -> tuple[None, list[Entry]]:
        """Write down that we would have written with a stale token; the command fails unless another run goes on."""
        row, now = records.load(tx, run.command_id), self._store.now(tx)
        why = f"the lease of {run.scope} was over, and its token {run.fence} is stale"
        if row["status"] != "executing" or locks.superseded(tx, run.scope, run.command_id, run.fence):
            return None, [records.violation(tx, row, "stale_fence", why, now)]
        return None, self._stopped(tx, row, Violation(why, code="stale_fence"), now)

    def _stopped(self, tx: Tx, row: RowMapping, fault: Violation, now: str) -> list[Entry]:
        """The hard stop of a command in which something happened that must not (R4-33)."""
        if not any(step["status"] == "failed" for step in records.steps_of(tx, row["id"])):
            records.stop_steps(tx, row, now, fault.detail)
        told = [self._finish(tx, row, "failed", now), records.violation(tx, row, fault.code, fault.detail, now)]
        records.stop_steps(tx, row, now, fault.detail)  # now, so that the failure names the step that was at fault
        return told

    async def _keep_lock(self, run: Run) -> None:
        """Renew the lease for as long as the run goes on."""
        while True:
            await asyncio.sleep(self._settings.lock_lease_s / 3)
            await self._store.write(lambda tx: self._renew(tx, run))

    def _renew(self, tx: Tx, run: Run) -> bool:
        now = self._store.now(tx)
        until = later(now, self._settings.lock_lease_s)
        return locks.renew(tx, run.scope, run.command_id, run.fence, now, until)

    async def _next(self, run: Run) -> list[DraftStep] | None:
        """The steps to start now; None when the command has come to its end, which is written down then."""
        results = await runs.known(run, self._store, self._blobs)
        decision = scheduling.decide(run.draft.plan, results, run.values)
        by_id = {one.step.id: one for one in run.draft.steps}

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            row, now = self._held(tx, run)
            skipped = [step_ended(tx, row, by_id[s.step_id], "skipped", s.message, s.reason) for s in decision.skip]
            failed = [step_ended(tx, row, by_id[step_id], "failed", why) for step_id, why in decision.fail]
            end = [self._finish(tx, row, decision.status, now)] if decision.done else []
            return None, [*skipped, *failed, *end]

        if decision.skip or decision.fail or decision.done:
            await self._journal.write(work)
            for step_id, why in decision.fail:
                row = await self._store.read(lambda tx: records.load(tx, run.command_id))
                await self._policies.ended(row, by_id[step_id].step, 0.0, Invalid(why))
        if decision.done:
            return None
        waiting = [one for one in run.draft.steps if results[one.step.id].status == "running"]
        todo = [*waiting, *(by_id[step_id] for step_id in decision.start)]
        return await self._journal.write(lambda tx: self._approved(tx, run, todo)) if run.stepwise else todo

    def _approved(self, tx: Tx, run: Run, todo: list[DraftStep]) -> tuple[list[DraftStep] | None, list[Entry]]:
        """Of what could start now, what was approved; None where a person has to be asked first (R4-15, X-29)."""
        row, now = self._held(tx, run)
        approval = approvals.current(tx, run.command_id)
        if approval is None or approval["step_index"] is None or not todo:
            return todo, []
        free = bases.without_approval(records.steps_of(tx, run.command_id))
        covered = [step for step in todo if step.index == approval["step_index"] or step.index in free]
        if covered:
            return covered, []
        ends = later(now, self._settings.approval_ttl_s)
        first = todo[0].index
        asked = approvals.request(
            tx, run.command_id, run.plan_version, approval["digest"], approval["requested_by"], now, ends, first
        )
        locks.release(tx, run.scope, run.command_id)  # while a person is awaited, others may have it
        row = records.move(tx, row, "pause", "awaiting_approval", now)
        told = {"metadata": {"stepIndex": first}, "approvalRequest": asked}
        return None, [records.event(row, "command.awaiting_approval", "daemon", "awaiting_approval", **told)]

    async def _together(self, run: Run, todo: Sequence[DraftStep]) -> None:
        """These steps beside each other; where one finds that the command was stopped, the others are ended, too."""
        try:
            async with asyncio.TaskGroup() as group:
                for step in todo:
                    group.create_task(self._step(run, step))
        except ExceptionGroup as found:
            raise found.exceptions[0] from None

    async def _step(self, run: Run, step: DraftStep) -> None:
        """One step: attempts until one ends for good, each journalled. Policies may say no before, and hear after."""
        if (why := await self._denied(run, step)) is not None:
            return await self._journal.write(lambda tx: self._deny(tx, run, step, why))
        while True:
            begun = await self._journal.write(lambda tx: self._begin(tx, run, step))
            if begun is None:
                return None
            row, basis, attempt, due_at = begun
            ended = await self._attempt(run, row, basis, step, due_at)
            delay_s = None if ended.fault is None else retries.delay_s(ended.fault, attempt, step.step.attempts)
            await self._write_end(run, step, basis, ended, again=delay_s is not None)
            if delay_s is None:
                return await self._policies.ended(row, step.step, ended.seconds, ended.fault, ended.output)
            await self._sleep(delay_s)

    async def _denied(self, run: Run, step: DraftStep) -> str | None:
        """Why a step may not run. A wait calls nothing, so nobody is asked."""
        asked = self._policies.asked({"id": run.command_id, "execution_context": run.told})
        if step.capability is None or not asked:
            return None
        row = await self._store.read(lambda tx: records.load(tx, run.command_id))
        return await self._policies.denial(row, step.step, scheduling.scope_of(run.values))

    def _deny(self, tx: Tx, run: Run, step: DraftStep, why: str) -> tuple[None, list[Entry]]:
        row, _ = self._held(tx, run)
        return None, [step_ended(tx, row, step, "skipped", why, "policy_denied")]

    def _begin(self, tx: Tx, run: Run, step: DraftStep) -> tuple[Any, list[Entry]]:
        """Write that an attempt begins, and what it rests on; None where there is nothing any more to rest on."""
        row, now = self._held(tx, run)
        try:
            contexts.bound_of(tx, run.context_id)
            basis = bases.take(tx, row, step, now, four_eyes=self._settings.four_eyes)
        except Forbidden as denied:
            return None, [step_ended(tx, row, step, "skipped", denied.detail, "policy_denied")]
        for attempt in journal.under_way(tx, run.command_id, run.plan_version):
            if attempt["step_index"] == step.index:  # a wait that a dead daemon began
                return (row, basis, attempt["attempt"], attempt["due_at"]), []
        due_at = None
        if step.step.type == "wait":
            due_at = rfc3339(waits.due(step.step.params, datetime.fromisoformat(now)))
        number = journal.begin(tx, run.command_id, run.plan_version, step.index, run.fence, now, due_at)
        here = (execution_plans.c.command_id == run.command_id, execution_plans.c.step_index == step.index)
        tx.execute(update(execution_plans).where(*here).values(status="running"))
        told = {"metadata": {"stepIndex": step.index}, "skill": step.step.name, "attempt": number}
        if basis is not None:
            told |= {"approval_id": basis.id, "approved_by": basis.person}
        entry = records.event(row, "command.step_started", "daemon", "started", **told)
        return (row, basis, number, due_at), [entry]

    async def _attempt(
        self, run: Run, row: RowMapping, basis: Basis | None, step: DraftStep, due_at: str | None
    ) -> _Ended:
        if due_at is not None:
            left = (datetime.fromisoformat(due_at) - self._clock.now()).total_seconds()
            await self._sleep(max(0.0, left))
            return _Ended()
        assert basis is not None, "only a wait rests on nothing"
        began = self._clock.monotonic()
        longest = longest_s(step)
        alarm = asyncio.get_running_loop().call_later(alarms.TIME * longest, self._late, row, step, longest)
        try:
            if run.draft.admission is not None:
                output = await self._calls.perform(run.draft.admission, basis)
            else:
                output = await self._calls.call(row, basis, step, scheduling.scope_of(run.values))
            return _Ended(output, seconds=self._clock.monotonic() - began)
        except OrchestratorError as fault:
            return _Ended(fault=fault, seconds=self._clock.monotonic() - began)
        finally:
            alarm.cancel()

    def _late(self, row: RowMapping, step: DraftStep, longest_s: float) -> None:
        """Tell that a step is near the end of its time (R4-48)."""
        told = alarms.alarm("time", alarms.TIME * longest_s * 1e3, longest_s * 1e3)
        written = self._journal.submit(lambda tx: (None, [alarm_of(records.load(tx, row["id"]), step, told)]))
        written.add_done_callback(lambda done: done.cancelled() or done.exception())  # a store that is away says so

    async def _write_end(
        self, run: Run, step: DraftStep, basis: Basis | None, ended: _Ended, *, again: bool
    ) -> None:  # fmt: skip
        """Write an attempt's outcome with its cost; the step's, too, unless there will be another attempt."""
        cost = prices.of_call(ended.seconds, self._settings)
        (ref,), part = self._blobs.part(ended.output)
        reference = {"ref": ref, "sha256": ref, "size": len(ended.output), "type": "application/json"}

        def work(tx: Tx) -> tuple[bool, list[Entry]]:
            row, now = self._held(tx, run)
            budgets.spend(tx, run.command_id, cost)
            told = [alarm_of(row, step, one) for one in budgets.near(tx, run.command_id, cost)]
            past = budgets.overspent(tx, run.command_id, self._settings.overspend_tolerance)
            fault = ended.fault if past is None else Violation(past, code="budget_overspent")
            outcome = "completed" if fault is None else fault.code
            if not journal.end(tx, run.command_id, run.plan_version, step.index, now, outcome):
                raise Stale
            if basis is not None and basis.kind == "grant":
                bases.settle(tx, row, step, cost, again=again and past is None)
            if fault is None:
                keep_result(tx, row, step, reference, cost, now)
                return False, [*told, step_ended(tx, row, step, "completed", None, cost=cost)]
            if again and past is None:
                retried = {"metadata": {"stepIndex": step.index}, "error": fault.detail}
                return False, [*told, records.event(row, "command.step_retried", "daemon", outcome, **retried)]
            told.append(step_ended(tx, row, step, "failed", fault.detail, cost=cost, category=failures.category(fault)))
            stopped = self._stopped(tx, row, fault, now) if isinstance(fault, Violation) else []
            return bool(stopped), [*told, *stopped]

        if await self._journal.write(work, [part]):
            raise Stale

    def _crashed(self, tx: Tx, row: RowMapping, run: Run, step: DraftStep, now: str) -> list[Entry]:
        """What becomes of a step in whose work a daemon died: once more where that harms nobody, else a person says."""
        journal.end(tx, run.command_id, run.plan_version, step.index, now, journal.CRASHED)
        if journal.crashes(tx, run.command_id, run.plan_version, step.index) >= MAX_CRASHES:
            return [step_ended(tx, row, step, "failed", f"poison: the daemon died {MAX_CRASHES} times while it ran")]
        if step.effects != "pure":
            return [step_ended(tx, row, step, "failed", "the daemon died while this ran: it may have had effects")]
        here = (execution_plans.c.command_id == run.command_id, execution_plans.c.step_index == step.index)
        tx.execute(update(execution_plans).where(*here).values(status="pending"))
        return []

    def _finish(self, tx: Tx, row: RowMapping, status: str, now: str) -> Entry:
        """The end of a command: nothing is held any more (I6)."""
        budgets.release(tx, row["id"])
        locks.release(tx, scope_of(row["context_id"]), row["id"])
        if status == "completed":
            row = records.move(tx, row, "complete", "completed", now)
            return records.event(row, "command.execution_completed", "daemon")
        steps = records.steps_of(tx, row["id"])
        failed = next((s for s in steps if s["status"] == "failed" or s["skip_reason"] == "policy_denied"), None)
        named = {"stepIndex": "step_index", "error": "error", "category": "category"}
        failure = None if failed is None else {name: failed[column] for name, column in named.items()}
        row = records.move(tx, row, "fail", "failed", now, failure=failure)
        return records.event(row, "command.execution_failed", "daemon", "failed", failure=failure)

    def _held(self, tx: Tx, run: Run) -> tuple[RowMapping, str]:
        """The command, if it is still ours to work at, and the time. Raises `Stale`."""
        now = self._store.now(tx)
        return runs.held(tx, run, now), now
