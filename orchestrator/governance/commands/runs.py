"""One run of one plan version: by which token it works, whether that still holds, and what it knows of its steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping

from orchestrator.contracts.plans import StepResult
from orchestrator.governance.commands import locks, records
from orchestrator.governance.commands.calls import inline
from orchestrator.governance.commands.drafts import Draft
from orchestrator.governance.contexts import scope_of
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx


class Stale(Exception):
    """The command is not ours to work at any more: it was cancelled, or its scope was lost."""


class Lost(Stale):
    """The command executes, and the token with which we work at it does not hold its scope (3.2 "lock leakage")."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is done, and by which token."""

    command_id: str
    context_id: str
    plan_version: int
    draft: Draft
    fence: int
    outputs: dict[str, bytes] = field(default_factory=dict, compare=False)
    """Those that were read, by reference: they never change, and every step looks at all of them."""

    @property
    def scope(self) -> str:
        """What is locked for it."""
        return scope_of(self.context_id)


def held(tx: Tx, run: Run, now: str) -> RowMapping:
    """The command, if it is still ours to work at. Raises `Stale`."""
    row = records.load(tx, run.command_id)
    if row["status"] != "executing":
        raise Stale
    if not locks.holds(tx, run.scope, run.command_id, run.fence, now):
        raise Lost
    return row


async def known(run: Run, store: Store, blobs: Blobs) -> tuple[dict[str, StepResult], dict[str, Any]]:
    """How the steps went so far, and the outputs of those that completed."""

    def work(tx: Tx) -> tuple[Sequence[RowMapping], dict[str, RowMapping]]:
        return records.steps_of(tx, run.command_id), records.results_of(tx, run.command_id)

    steps, results = await store.read(work)
    told: dict[str, StepResult] = {}
    outputs: dict[str, Any] = {}
    for step in steps:
        members = {name: step[name] for name in ("step_id", "status", "error", "skip_reason")}
        told[step["step_id"]] = StepResult(**members)
        if (result := results.get(step["id"])) is not None:
            ref = result["output_reference"]["ref"]
            if ref not in run.outputs:
                run.outputs[ref] = await blobs.get(ref)
            outputs[step["step_id"]] = inline(run.outputs[ref])
    return told, outputs
