"""Quotas of keys: what one may cost by the hour, day or month, whatever it asks for (CONTRACT 5 "keys have quotas").

A quota is a budget whose scope is the key and the hour, day or month of the store's clock. What costs something takes
its estimate from it by one conditional update before it begins, and settles to what it cost when it has ended.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update

from orchestrator.contracts.callers import Caller
from orchestrator.contracts.costs import Bound, Cost, Quota
from orchestrator.contracts.errors import Invalid
from orchestrator.governance.commands import budgets as rules
from orchestrator.kernel.clock import rfc3339
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import budgets, reservations

_LETTERS = {"hour": len("2026-01-01T00"), "day": len("2026-01-01"), "month": len("2026-01")}
"""How much of a time in the store's spelling tells the hour, the day, the month."""


@dataclass(frozen=True, slots=True)
class Hold:
    """What something under way has taken from a quota."""

    scope: str
    estimate: Cost


def bounds_of(caller: Caller, now: str) -> dict[str, Bound]:
    """The budget that a caller's key has now, by scope; none where its key has no quota."""
    quota = caller.quota
    if quota is None:
        return {}
    return {f"key:{caller.key_id}:{now[: _LETTERS[quota.per]]}": Bound(usd=quota.usd, tokens=quota.tokens)}


def ends_at(quota: Quota, now: str) -> str:
    """When a quota is whole again."""
    start = datetime.fromisoformat(now).replace(minute=0, second=0, microsecond=0)
    if quota.per == "hour":
        return rfc3339(start + timedelta(hours=1))
    start = start.replace(hour=0)
    if quota.per == "day":
        return rfc3339(start + timedelta(days=1))
    return rfc3339((start.replace(day=1) + timedelta(days=32)).replace(day=1))


class Quotas:
    """Takes what is done at once from the quota of its key. Commands reserve from it as from their other budgets."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self) -> None:
        """Give back what a dead daemon had taken and never settled; what commands hold stays held."""
        await self._store.write(_rederive)

    async def admit(self, caller: Caller, estimate: Cost) -> Hold | None:
        """Take an estimate; None where the key has no quota. Raises `Invalid` (`budget_exceeded`)."""
        quota = caller.quota
        if quota is None:
            return None

        def work(tx: Tx) -> Hold:
            now = self._store.now(tx)
            ((scope, most),) = bounds_of(caller, now).items()
            if tx.execute(select(budgets.c.scope).where(budgets.c.scope == scope)).first() is None:
                _forget_earlier(tx, f"key:{caller.key_id}:")
            try:
                rules.hold(tx, scope, estimate, most)
            except Invalid as fault:
                fault.extra["resets_at"] = ends_at(quota, now)
                raise
            return Hold(scope, estimate)

        return await self._store.write(work)

    def settle(self, hold: Hold | None, used: Cost) -> None:
        """Book what it cost in place of its estimate: on disk before anything that is written later."""
        if hold is not None:
            written = self._store.submit(lambda tx: rules.settle(tx, hold.scope, hold.estimate, used))
            written.add_done_callback(lambda done: done.cancelled() or done.exception())


def _forget_earlier(tx: Tx, prefix: str) -> None:
    """Of a key's earlier hours, days or months nothing is kept but what something under way still holds."""
    b = budgets.c
    over = (b.scope.startswith(prefix, autoescape=True), b.reserved_micros == 0, b.reserved_tokens == 0)
    tx.execute(delete(budgets).where(*over))


def _rederive(tx: Tx) -> None:
    b, r = budgets.c, reservations.c
    for kind in ("micros", "tokens"):
        held = select(func.coalesce(func.sum(r[kind]), 0)).where(r.scope == b.scope).scalar_subquery()
        stale = b.scope.startswith("key:", autoescape=True)
        tx.execute(update(budgets).where(stale).values({f"reserved_{kind}": held}))
