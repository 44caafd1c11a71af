"""Rows of plans, within a transaction."""

from sqlalchemy import RowMapping, insert, or_, select, update

from orchestrator.contracts.errors import Conflict, NotFound
from orchestrator.contracts.model import JsonObject
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import PLAN_EVENTS, events, plans


def load(tx: Tx, plan_id: str, identity_id: str) -> RowMapping:
    """A plan of an identity, by the id that it was given or by its own. Raises `NotFound`."""
    row = _find(tx, plan_id, identity_id)
    if row is None:
        raise NotFound("no such plan")
    return row


def add(tx: Tx, row: JsonObject) -> None:
    """Keep a new plan. Raises `Conflict` (`plan_exists`) where the identity has one of that id (X-16)."""
    if _find(tx, row["external_id"], row["identity_id"]) is not None:
        raise Conflict(f"there is a plan {row['external_id']!r} already", code="plan_exists")
    tx.execute(insert(plans), row)


def supersede(tx: Tx, row: RowMapping, new_id: str) -> None:
    """Another plan does the same goal from now on. Raises `Conflict` where one does already."""
    here = (plans.c.id == row["id"], plans.c.superseded_by.is_(None))
    if tx.execute(update(plans).where(*here).values(superseded_by=new_id)).rowcount == 0:
        raise Conflict("another plan has taken its place", extra={"state": "superseded"})


def current(tx: Tx, command_id: str) -> RowMapping | None:
    """The plan that a command does; None for a command that the planner planned."""
    here = (plans.c.command_id == command_id, plans.c.superseded_by.is_(None))
    return tx.execute(select(plans).where(*here)).mappings().first()


def page(tx: Tx, identity_id: str, limit: int, before: str | None) -> list[RowMapping]:
    """Plans of an identity, newest first."""
    query = select(plans).where(plans.c.identity_id == identity_id).order_by(plans.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(plans.c.id < before)
    return list(tx.execute(query).mappings())


def history(tx: Tx, plan_id: str) -> list[RowMapping]:
    """What was recorded of a plan, in the order of the log."""
    query = select(events).where(events.c.subject == plan_id, PLAN_EVENTS).order_by(events.c.seq)
    return list(tx.execute(query).mappings())


def _find(tx: Tx, plan_id: str, identity_id: str) -> RowMapping | None:
    if "\0" in plan_id:  # not every store can be asked for it, and none has it
        return None
    named = or_(plans.c.external_id == plan_id, plans.c.id == plan_id)
    query = select(plans).where(plans.c.identity_id == identity_id, named)
    return tx.execute(query).mappings().first()
