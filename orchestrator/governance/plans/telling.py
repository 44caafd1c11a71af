"""A plan's history: written with what happens to the command that does it, in the same transaction (R1-23, X-03).

Commands tell seed 004's events. Where a command does a plan that was given, each of them that the plan's history knows
is told once more, in seed 001's words, keyed by the plan's id. Outputs are references (R4-06).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import RowMapping, select

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.costs import MICRO
from orchestrator.contracts.model import JsonObject
from orchestrator.governance.commands.records import load, results_of, steps_of
from orchestrator.governance.plans import records
from orchestrator.storage.port import Part, Tx
from orchestrator.storage.schema import attempts, budgets, execution_plans, execution_results

T = TypeVar("T")
_ENDED = {"command.execution_completed", "command.execution_failed", "command.cancelled"}
NAMES = {
    "command.approved": "plan_approved",
    "command.execution_started": "execution_started",
    "command.step_started": "step_started",
    "command.step_retried": "step_retried",
    "command.step_completed": "step_completed",
    "command.step_failed": "step_failed",
    "command.step_skipped": "step_skipped",
    "command.execution_completed": "execution_completed",
    "command.execution_failed": "execution_failed",
    "command.cancelled": "plan_cancelled",
}
"""Seed 001's names, and what stands between them, by the topic of a command's event.

`plan_created` comes with the plan; what is cancelled while it is executed is `execution_cancelled`.
"""


class PlanJournal:
    """The journal, as rooms that change commands write it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._without: set[str] = set()
        """Commands that execute and do no given plan: one is given with the command or never."""

    async def write(self, work: Callable[[Tx], tuple[T, Sequence[Entry]]], parts: Sequence[Part] = ()) -> T:
        """As `Journal.write`; histories of plans are written with it."""
        return await self.submit(work, parts)

    def submit(
        self, work: Callable[[Tx], tuple[T, Sequence[Entry]]], parts: Sequence[Part] = ()
    ) -> "asyncio.Future[T]":
        """As `Journal.submit`, likewise."""

        def both(tx: Tx) -> tuple[T, Sequence[Entry]]:
            value, entries = work(tx)
            return value, [*entries, *self._twins(tx, entries)]

        return self._journal.submit(both, parts)

    def _twins(self, tx: Tx, entries: Sequence[Entry]) -> Iterator[Entry]:
        for entry in entries:
            name, subject = NAMES.get(entry.topic), entry.subject or ""
            plan = None if name is None or subject in self._without else records.current(tx, subject)
            if entry.topic in _ENDED:
                self._without.discard(subject)
            elif name == "execution_started" and plan is None:
                self._without.add(subject)
            if name is None or plan is None:
                continue
            command = load(tx, subject)
            if entry.topic == "command.cancelled" and command["execution_id"] is not None:
                name = "execution_cancelled"
            yield _entry(plan, name, entry.actor, entry.outcome, _data(tx, name, command, entry), entry.approval_id)


def created(row: JsonObject, digest: str, actor: str, **data: Any) -> Entry:
    """The entry with which a plan's history begins."""
    told = {"planRef": row["plan_ref"], "goalId": row["goal_id"], "digest": digest, **data}
    return _entry(row, "plan_created", actor, "ok", told)


def _entry(
    plan: Any, name: str, actor: str, outcome: str, data: JsonObject, approval_id: str | None = None
) -> Entry:  # fmt: skip
    """An event alone: the audit has the command's row."""
    topic = f"plan.{name.removeprefix('plan_')}"
    told = {"planId": plan["external_id"], **data}
    return Entry(
        topic, plan["id"], actor, outcome, told, plan["identity_id"], approval_id, name, audited=False
    )  # fmt: skip


def _data(tx: Tx, name: str, command: RowMapping, entry: Entry) -> JsonObject:
    if name.startswith("step_"):
        return _step(tx, command, entry)
    if not name.startswith("execution_"):
        return {key: entry.data[key] for key in ("digest", "decision", "notes") if entry.data.get(key) is not None}
    told = {"executionId": command["execution_id"], "status": _STATUS[name], "steps": _snapshot(tx, command)}
    if name == "execution_started":
        return told
    failure = command["failure"] or {}
    error = failure.get("error") or (entry.outcome if name == "execution_cancelled" else None)
    return told | {"totalCost": _spent(tx, command["id"])} | ({"error": error} if error else {})


_STATUS = {
    "execution_started": "running", "execution_completed": "completed", "execution_failed": "failed",
    "execution_cancelled": "cancelled",
}  # fmt: skip


def _step(tx: Tx, command: RowMapping, entry: Entry) -> JsonObject:
    """One step as seed 001's StepResult, with what its last attempt took and all of it cost."""
    index = entry.data["metadata"]["stepIndex"]
    e, r, c = execution_plans.c, execution_results.c, attempts.c
    of_step = (e.command_id == command["id"], e.step_index == index)
    step = tx.execute(select(execution_plans).where(*of_step)).mappings().one()
    of_result = select(execution_results).where(r.plan_step_id == step["id"]).order_by(r.id.desc()).limit(1)
    here = (c.command_id == command["id"], c.plan_version == command["plan_version"], c.step_index == index)
    last = tx.execute(select(attempts).where(*here).order_by(c.attempt.desc()).limit(1)).mappings().first()
    told = _standing(step, tx.execute(of_result).mappings().first())
    if entry.data.get("attempt"):
        told["attempt"] = entry.data["attempt"]
    if (cost := entry.data["metadata"].get("cost")) is not None:
        told["cost"] = cost
    if last is not None:
        told["startedAt"] = last["started_at"]
        if last["ended_at"] is not None and step["status"] != "running":
            took = datetime.fromisoformat(last["ended_at"]) - datetime.fromisoformat(last["started_at"])
            told |= {"completedAt": last["ended_at"], "duration": max(0.0, took / timedelta(milliseconds=1))}
    if entry.topic == "command.step_retried":
        told["error"] = entry.data.get("error")
    return told


def _snapshot(tx: Tx, command: RowMapping) -> list[JsonObject]:
    results = results_of(tx, command["id"])
    return [_standing(step, results.get(step["id"])) for step in steps_of(tx, command["id"])]


def _standing(step: RowMapping, result: RowMapping | None) -> JsonObject:
    told = {"stepId": step["step_id"], "status": "pending" if step["status"] == "approved" else step["status"]}
    more = {"error": step["error"], "skipReason": step["skip_reason"]}
    if result is not None and step["status"] == "completed":
        more["outputReference"] = result["output_reference"]
    return told | {name: value for name, value in more.items() if value is not None}


def _spent(tx: Tx, command_id: str) -> float:
    """What the command has cost so far, in dollars."""
    query = select(budgets.c.spent_micros).where(budgets.c.scope == f"command:{command_id}")
    return float(Decimal(tx.execute(query).scalar() or 0) / MICRO)
