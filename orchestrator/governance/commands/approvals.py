"""Approvals: bound to a digest, decided once by a person, consumed once, expired by the store's clock (3.1, X-32).

Within the caller's transaction. What nobody decided in time counts as rejected (R4-17). That does not rest on a
sweeper: every statement compares the deadline itself. A refusal is answered and not raised: an expiry that was found
is to be committed first.
"""

from sqlalchemy import RowMapping, func, insert, select, update

from orchestrator.contracts.callers import Caller
from orchestrator.contracts.errors import Conflict, Forbidden
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import approvals, identities


def person_of(caller: Caller) -> str:
    """Who decides. Raises `Forbidden`: agents, plugins, voice and services never do (X-26)."""
    if caller.kind != "person" or caller.source != "http":
        raise Forbidden("only a person can approve or reject", code="person_required")
    return caller.owner


def request(
    tx: Tx, command_id: str, plan_version: int, digest: str, requested_by: str, now: str, expires_at: str,
    step_index: int | None = None,
) -> str:  # fmt: skip
    """Ask for the approval of a plan, or of one step of it; what was asked for before is void. Answers its id."""
    void(tx, command_id)
    row = {
        "id": new_id(), "command_id": command_id, "plan_version": plan_version, "step_index": step_index,
        "digest": digest, "state": "pending", "requested_by": requested_by, "created_at": now,
        "expires_at": expires_at, "decided_by": None, "decided_at": None, "notes": None,
    }  # fmt: skip
    tx.execute(insert(approvals), row)
    return str(row["id"])


def current(tx: Tx, command_id: str) -> RowMapping | None:
    """The newest approval of a command, whatever its state."""
    query = select(approvals).where(approvals.c.command_id == command_id).order_by(approvals.c.id.desc()).limit(1)
    return tx.execute(query).mappings().first()


def require_another(tx: Tx, requested_by: str, person: str) -> None:
    """Raise `Forbidden` (`four_eyes`) where it is the requester who would approve, and say what would do (X-26)."""
    if person != requested_by:
        return
    i = identities.c
    others = select(func.count()).where(i.kind == "person", i.active, i.id != person)
    if tx.execute(others).scalar_one():
        told = "ask another person, with a key of scope approve"
    else:
        told = "there is no other yet: make one with POST /v1/identities, a context and a key of scope approve for him"
    raise Forbidden(f"governance.four_eyes: whoever asked does not approve; {told}", code="four_eyes")


def approve(tx: Tx, approval_id: str, digest: str, person: str, now: str, notes: str | None) -> Conflict | None:
    """Give it, or answer why not: `approval_expired`, `plan_changed`, or that it was decided before and by whom."""
    return _decide(tx, approval_id, now, digest, state="approved", decided_by=person, notes=notes)


def reject(tx: Tx, approval_id: str, person: str, now: str, notes: str | None) -> Conflict | None:
    """Refuse it, or answer why that is not possible any more."""
    return _decide(tx, approval_id, now, None, state="rejected", decided_by=person, notes=notes)


def consume(tx: Tx, approval_id: str, digest: str, now: str) -> Conflict | None:
    """Use it for one run of the very plan that it is for, or answer why not."""
    c = approvals.c
    good = (c.id == approval_id, c.state == "approved", c.digest == digest, c.expires_at > now)
    if tx.execute(update(approvals).where(*good).values(state="consumed")).rowcount == 1:
        return None
    return _refusal(tx, approval_id, digest, now)


def expire(tx: Tx, approval_id: str, now: str) -> bool:
    """End it if its time is over and it was not used; whether it has ended so, now or before."""
    c = approvals.c
    over = (c.id == approval_id, c.state.in_(("pending", "approved")), c.expires_at <= now)
    tx.execute(update(approvals).where(*over).values(state="expired"))
    return bool(_row(tx, approval_id)["state"] == "expired")


def overdue(tx: Tx, now: str) -> list[str]:
    """Commands whose approval, asked for or given, has not been used in time."""
    c = approvals.c
    query = select(c.command_id).where(c.state.in_(("pending", "approved")), c.expires_at <= now).limit(1000)
    return list(tx.execute(query).scalars())


def void(tx: Tx, command_id: str) -> None:
    """Take back what was asked for or given and not used: the plan is another one now, or there will be none."""
    c = approvals.c
    live = (c.command_id == command_id, c.state.in_(("pending", "approved")))
    tx.execute(update(approvals).where(*live).values(state="void"))


def _decide(tx: Tx, approval_id: str, now: str, digest: str | None, **values: str | None) -> Conflict | None:
    c = approvals.c
    same = () if digest is None else (c.digest == digest,)
    open_ = (c.id == approval_id, c.state == "pending", c.expires_at > now, *same)
    if tx.execute(update(approvals).where(*open_).values(decided_at=now, **values)).rowcount == 1:
        return None
    return _refusal(tx, approval_id, digest, now)


def _refusal(tx: Tx, approval_id: str, digest: str | None, now: str) -> Conflict:
    if expire(tx, approval_id, now):
        return Conflict(f"the time to approve ended at {_row(tx, approval_id)['expires_at']}", code="approval_expired")
    row = _row(tx, approval_id)
    if digest not in (None, row["digest"]):
        return Conflict("the plan is another one than the one that was shown", code="plan_changed")
    return Conflict(f"it was {row['state']} before", extra={"winner": row["state"], "by": row["decided_by"]})


def _row(tx: Tx, approval_id: str) -> RowMapping:
    return tx.execute(select(approvals).where(approvals.c.id == approval_id)).mappings().one()
