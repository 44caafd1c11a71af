"""One run of one plan version: by which token it works, whether that still holds, and what it knows of its steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping

from orchestrator.contracts.model import JsonObject
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
    stepwise: bool = False
    """Whether each step is approved on its own."""
    told: JsonObject | None = None
    """What policy hooks are told of it."""
    outputs: dict[str, bytes] = field(default_factory=dict, compare=False)
    """Those that were read, by reference: they never change, and every step looks at all of them."""
    values: dict[str, Any] = field(default_factory=dict, compare=False)
    """What templates and conditions see of the steps that had completed when it was last looked."""

    @property
    def scope(self) -> str:
        """What is locked for it."""
        return scope_of(self.context_id)

    @classmethod
    def of(cls, row: Mapping[Any, Any], draft: Draft, fence: int) -> "Run":
        """That of a command which executes."""
        stepwise = row["approval_mode"] == "step"
        return cls(
            row["id"], row["context_id"], row["plan_version"], draft, fence, stepwise, row["execution_context"]
        )  # fmt: skip


def held(tx: Tx, run: Run, now: str) -> RowMapping:
    """The command, if it is still ours to work at. Raises `Stale`."""
    row = records.load(tx, run.command_id)
    if row["status"] != "executing":
        raise Stale
    if not locks.holds(tx, run.scope, run.command_id, run.fence, now):
        raise Lost
    return row


async def known(run: Run, store: Store, blobs: Blobs) -> dict[str, StepResult]:
    """How the steps went so far; the values of those that completed are the run's from then on."""

    def work(tx: Tx) -> tuple[Sequence[RowMapping], dict[str, RowMapping]]:
        return records.steps_of(tx, run.command_id), records.results_of(tx, run.command_id)

    steps, results = await store.read(work)
    told: dict[str, StepResult] = {}
    for step in steps:
        members = {name: step[name] for name in ("step_id", "status", "error", "skip_reason")}
        told[step["step_id"]] = StepResult(**members)
        if (result := results.get(step["id"])) is not None:
            ref = result["output_reference"]["ref"]
            if ref not in run.outputs:
                run.outputs[ref] = await blobs.get(ref)
            run.values[step["step_id"]] = inline(run.outputs[ref])
    return told
