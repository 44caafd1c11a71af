"""Effects on the world: what must be undone if nobody accepts it, or is done only when somebody does (X-12).

Within the caller's transaction. A row is written before a step with effects begins, so that a crash loses none. Then
`held` becomes `due` when a person's decision wants it undone or released, `kept` when a compensated one was accepted,
`cancelled` when what was only prepared is not wanted. Who carries it out is `aftercare`.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import RowMapping, insert, select, update

from orchestrator.contracts.plugins import Effects
from orchestrator.governance.commands.bases import Basis
from orchestrator.governance.commands.drafts import DraftStep
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import effects

KINDS: tuple[Effects, ...] = ("compensated", "deferred")
"""Those that leave something to do after the step."""


def hold(tx: Tx, row: RowMapping, basis: Basis, step: DraftStep, request_ref: str, now: str) -> str:
    """Write that a step with effects begins; the id by which the plugin may know it again, the same in each attempt."""
    c = effects.c
    here = (c.command_id == row["id"], c.plan_version == row["plan_version"], c.step_index == step.index)
    known = tx.execute(select(c.id).where(*here, c.state == "held")).scalar()
    if known is not None:
        return str(known)
    assert step.capability is not None, "a wait has no effects"
    made = {
        "id": new_id(), "command_id": row["id"], "step_index": step.index, "plan_version": row["plan_version"],
        "kind": step.effects, "state": "held", "tool": step.capability.tool, "permit_for": step.capability.permit_for,
        "approval_id": basis.id, "person": basis.person, "request_ref": request_ref,
        "output_ref": None, "attempts": 0, "next_at": None, "fault": None, "created_at": now,
    }  # fmt: skip
    tx.execute(insert(effects), made)
    return str(made["id"])


def answered(tx: Tx, row: RowMapping, step_index: int, output_ref: str) -> None:
    """Write what the step put out: that is what will be undone or released."""
    c = effects.c
    here = (c.command_id == row["id"], c.plan_version == row["plan_version"], c.step_index == step_index)
    tx.execute(update(effects).where(*here, c.state == "held").values(output_ref=output_ref))


def accept(tx: Tx, output: RowMapping, now: str) -> None:
    """A person has accepted an output: what was prepared is to be released, what was done may stay."""
    c, here = effects.c, _of(output)
    tx.execute(update(effects).where(*here, c.kind == "deferred", c.state == "held").values(state="due", next_at=now))
    tx.execute(update(effects).where(*here, c.kind == "compensated", c.state == "held").values(state="kept"))


def refuse(tx: Tx, output: RowMapping, now: str) -> None:
    """Nobody wants an output, or not any more: what was done is to be undone, what was prepared is dropped."""
    _end(tx, _of(output), ("held", "kept"), now)


def abandon(tx: Tx, command_id: str, keep: Collection[int], now: str) -> None:
    """The same for all that a command has done and nobody accepted, but for steps that are kept."""
    c = effects.c
    _end(tx, (c.command_id == command_id, c.step_index.not_in(keep)), ("held",), now)


def wait_for(tx: Tx, command_id: str, running: Collection[int], until: str) -> None:
    """Undo what is under way not before then: a cancelled call may need a moment until it has really ended."""
    c = effects.c
    here = (c.command_id == command_id, c.state == "due", c.step_index.in_(running), c.output_ref.is_(None))
    tx.execute(update(effects).where(*here).values(next_at=until))


def pending(tx: Tx, command_id: str) -> bool:
    """Whether something that a command did is still being undone."""
    c = effects.c
    here = (c.command_id == command_id, c.kind == "compensated", c.state.in_(("due", "doing")))
    return tx.execute(select(c.id).where(*here).limit(1)).first() is not None


def state_of(tx: Tx, output: RowMapping) -> RowMapping | None:
    """What has become of the effect behind an output; None where it has none that is kept account of."""
    query = select(effects).where(*_of(output)).order_by(effects.c.id.desc()).limit(1)
    return tx.execute(query).mappings().first()


def _of(output: RowMapping) -> tuple[Any, ...]:
    c = effects.c
    names = ("command_id", "plan_version", "step_index")
    return tuple(c[name] == output[name] for name in names)


def _end(tx: Tx, here: tuple[Any, ...], states: tuple[str, ...], now: str) -> None:
    c = effects.c
    tx.execute(
        update(effects).where(*here, c.kind == "compensated", c.state.in_(states)).values(state="due", next_at=now)
    )
    tx.execute(update(effects).where(*here, c.kind == "deferred", c.state == "held").values(state="cancelled"))
