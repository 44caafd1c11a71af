"""The write-ahead journal of attempts: a row before a step's work begins, its outcome after it ended (3.1).

Within the caller's transaction. What has a row and no outcome was under way when a daemon died.
"""

from collections.abc import Sequence

from sqlalchemy import RowMapping, func, insert, select, update

from orchestrator.storage.port import Tx
from orchestrator.storage.schema import attempts

CRASHED = "crashed"


def begin(
    tx: Tx, command_id: str, plan_version: int, step_index: int, fence: int, now: str, due_at: str | None = None
) -> int:
    """Write that an attempt begins; its number, from 1. `due_at` is when a wait is over."""
    c = attempts.c
    here = (c.command_id == command_id, c.plan_version == plan_version, c.step_index == step_index)
    number = 1 + int(tx.execute(select(func.max(c.attempt)).where(*here)).scalar() or 0)
    row = {
        "command_id": command_id, "plan_version": plan_version, "step_index": step_index, "attempt": number,
        "fence": fence, "started_at": now, "due_at": due_at, "ended_at": None, "outcome": None,
    }  # fmt: skip
    tx.execute(insert(attempts), row)
    return number


def end(tx: Tx, command_id: str, plan_version: int, step_index: int, now: str, outcome: str) -> bool:
    """Write how the attempt under way ended; False where there is none, so that no attempt ends twice (I4)."""
    c = attempts.c
    here = (c.command_id == command_id, c.plan_version == plan_version, c.step_index == step_index)
    done = tx.execute(update(attempts).where(*here, c.ended_at.is_(None)).values(ended_at=now, outcome=outcome))
    return done.rowcount == 1


def under_way(tx: Tx, command_id: str, plan_version: int) -> Sequence[RowMapping]:
    """Attempts without an outcome, by step."""
    c = attempts.c
    here = (c.command_id == command_id, c.plan_version == plan_version, c.ended_at.is_(None))
    return tx.execute(select(attempts).where(*here).order_by(c.step_index)).mappings().all()


def began(tx: Tx, command_id: str) -> str | None:
    """When the first attempt of a command began."""
    return tx.execute(select(func.min(attempts.c.started_at)).where(attempts.c.command_id == command_id)).scalar()


def crashes(tx: Tx, command_id: str, plan_version: int, step_index: int) -> int:
    """In how many attempts at a step a daemon died."""
    c = attempts.c
    here = (c.command_id == command_id, c.plan_version == plan_version, c.step_index == step_index)
    return int(tx.execute(select(func.count()).select_from(attempts).where(*here, c.outcome == CRASHED)).scalar_one())
