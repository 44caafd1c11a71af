"""Scope locks with leases and fencing tokens (R4-12, CONTRACT 5). Within the caller's transaction.

The scope is a context. Pure work shares it, other work has it alone. Whoever takes it gets a token larger than every
earlier one; what the holder writes carries the token, so that one who slept through his lease writes nothing.
"""

from typing import Any, Literal

from sqlalchemy import delete, insert, select, update

from orchestrator.contracts.errors import OrchestratorError
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import fences, scope_locks

Mode = Literal["shared", "exclusive"]


class Locked(OrchestratorError):
    """Somebody else has the scope (`scope_locked`); `holder` in the problem names the command."""

    status = 423
    default_code = "scope_locked"


def acquire(tx: Tx, scope: str, holder: str, mode: Mode, now: str, lease_until: str) -> int:
    """Take a scope and answer the fencing token. Raises `Locked`. Taken again by its holder it gets a new token."""
    tx.execute(delete(scope_locks).where(scope_locks.c.scope == scope, scope_locks.c.lease_until <= now))
    others = select(scope_locks).where(scope_locks.c.scope == scope, scope_locks.c.holder != holder)
    for other in tx.execute(others).mappings():
        if "exclusive" in (mode, other["mode"]):
            raise Locked(
                f"the context is locked by the command {other['holder']} until {other['lease_until']} or its end",
                extra={"holder": other["holder"], "lease_until": other["lease_until"]},
            )
    release(tx, scope, holder)
    token = _next_token(tx, scope)
    row = {"scope": scope, "holder": holder, "mode": mode, "token": token, "lease_until": lease_until}
    tx.execute(insert(scope_locks), row)
    return token


def require_free(tx: Tx, scope: str, now: str) -> None:
    """Raise `Locked` where somebody holds the scope, shared or alone."""
    query = select(scope_locks).where(scope_locks.c.scope == scope, scope_locks.c.lease_until > now)
    if (holder := tx.execute(query).mappings().first()) is not None:
        raise Locked(
            f"the command {holder['holder']} holds the context: it can be changed when that has ended or is cancelled",
            extra={"holder": holder["holder"], "lease_until": holder["lease_until"]},
        )


def renew(tx: Tx, scope: str, holder: str, token: int, now: str, lease_until: str) -> bool:
    """Hold a scope for longer; False where the lease is over or another token holds."""
    own = _own(scope, holder, token, now)
    return tx.execute(update(scope_locks).where(*own).values(lease_until=lease_until)).rowcount == 1


def holds(tx: Tx, scope: str, holder: str, token: int, now: str) -> bool:
    """Whether this token still holds the scope: asked in every transaction in which its holder writes."""
    return tx.execute(select(scope_locks.c.token).where(*_own(scope, holder, token, now))).first() is not None


def superseded(tx: Tx, scope: str, holder: str, token: int) -> bool:
    """Whether the same holder has taken the scope again since, with a later token: another run of it goes on."""
    c = scope_locks.c
    later = (c.scope == scope, c.holder == holder, c.token > token)
    return tx.execute(select(c.token).where(*later)).first() is not None


def release(tx: Tx, scope: str, holder: str) -> None:
    """Let go of a scope. May be called again."""
    tx.execute(delete(scope_locks).where(scope_locks.c.scope == scope, scope_locks.c.holder == holder))


def _own(scope: str, holder: str, token: int, now: str) -> tuple[Any, ...]:
    c = scope_locks.c
    return (c.scope == scope, c.holder == holder, c.token == token, c.lease_until > now)


def _next_token(tx: Tx, scope: str) -> int:
    done = tx.execute(update(fences).where(fences.c.scope == scope).values(last=fences.c.last + 1))
    if done.rowcount == 0:
        tx.execute(insert(fences), {"scope": scope, "last": 1})
    return int(tx.execute(select(fences.c.last).where(fences.c.scope == scope)).scalar_one())
