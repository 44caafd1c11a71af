"""Budgets: reserved by one conditional update before an approval is possible, settled to what was used (R4-11, 3.1).

Everything here is done within the caller's transaction. `reserved + spent + wanted <= cap` is judged by the database,
in the same statement that reserves, so that no two commands can both have the last cent.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, or_, select, update

from orchestrator.contracts.costs import Bound, Cost
from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.model import JsonObject
from orchestrator.governance import alarms
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import budgets, reservations


def bound(tx: Tx, scope: str, most: Bound) -> None:
    """Set what may be spent in a scope, for now and for what comes; what is reserved or spent stays so."""
    done = tx.execute(update(budgets).where(budgets.c.scope == scope).values(**most.as_row()))
    if done.rowcount == 0:
        nothing = {"reserved_micros": 0, "reserved_tokens": 0, "spent_micros": 0, "spent_tokens": 0}
        tx.execute(insert(budgets), {"scope": scope, **most.as_row(), **nothing})


def reserve(tx: Tx, command_id: str, wanted: Cost, bounds: Mapping[str, Bound]) -> None:
    """Take what a command is estimated to cost from each scope that applies, or from none.

    Raises `Invalid` (`budget_exceeded`), naming the scope and what is left there; the caller's transaction must not go
    on then.
    """
    for scope, most in bounds.items():
        hold(tx, scope, wanted, most)
        row = {"command_id": command_id, "scope": scope, "micros": wanted.micros, "tokens": wanted.tokens}
        tx.execute(insert(reservations), row)


def hold(tx: Tx, scope: str, wanted: Cost, most: Bound) -> None:
    """Take an amount from one scope, of which so much may be spent. Raises `Invalid` (`budget_exceeded`)."""
    bound(tx, scope, most)
    if not _take(tx, scope, wanted):
        raise _exceeded(tx, scope, wanted)


def settle(tx: Tx, scope: str, held: Cost, used: Cost) -> None:
    """Book what was used in place of what was taken by `hold`."""
    _move(tx, scope, held.micros, held.tokens, used)


def spend(tx: Tx, command_id: str, used: Cost) -> bool:
    """Book what was used; whether all of it had been reserved. What goes past that is booked all the same."""
    within = True
    for held in _held(tx, command_id):
        micros, tokens = min(used.micros, held["micros"]), min(used.tokens, held["tokens"])
        within = within and used.micros <= held["micros"] and used.tokens <= held["tokens"]
        _move(tx, held["scope"], micros, tokens, used)
        here = (reservations.c.command_id == command_id) & (reservations.c.scope == held["scope"])
        left = {"micros": held["micros"] - micros, "tokens": held["tokens"] - tokens}
        tx.execute(update(reservations).where(here).values(**left))
    return within


def overspent(tx: Tx, command_id: str, tolerance: float) -> str | None:
    """Which budget a command has come past by more than the tolerance, in words; None while all of them hold."""
    for row in _scopes(tx, command_id):
        for kind, show in (("micros", _dollars), ("tokens", str)):
            cap, spent = row[f"cap_{kind}"], row[f"spent_{kind}"]
            if cap is not None and spent > cap * (1 + tolerance):
                what = row["scope"].partition(":")[0]
                return f"{show(spent)} {'' if kind == 'micros' else 'tokens '}spent of the {what}'s {show(cap)}"
    return None


def near(tx: Tx, command_id: str, used: Cost) -> list[JsonObject]:
    """Budgets of which what was used just now reached the share of tokens that is worth an alarm (R4-48)."""
    told = []
    for row in _scopes(tx, command_id):
        cap, spent = row["cap_tokens"], row["spent_tokens"]
        if alarms.crossed(spent - used.tokens, spent, cap, alarms.TOKENS):
            told.append({**alarms.alarm("tokens", spent, cap), "scope": row["scope"]})
    return told


def release(tx: Tx, command_id: str) -> None:
    """Give back what a command holds and has not spent. May be called again."""
    for held in _held(tx, command_id):
        _move(tx, held["scope"], held["micros"], held["tokens"], Cost())
    tx.execute(delete(reservations).where(reservations.c.command_id == command_id))


def left_of(tx: Tx, command_id: str) -> Cost | None:
    """The least that a command still holds in any scope; None where it holds nothing at all."""
    rows = _held(tx, command_id)
    if not rows:
        return None
    return Cost.of(min(row["micros"] for row in rows), min(row["tokens"] for row in rows))


def _take(tx: Tx, scope: str, wanted: Cost) -> bool:
    b = budgets.c
    fits = (
        b.scope == scope,
        or_(b.cap_micros.is_(None), b.reserved_micros + b.spent_micros + wanted.micros <= b.cap_micros),
        or_(b.cap_tokens.is_(None), b.reserved_tokens + b.spent_tokens + wanted.tokens <= b.cap_tokens),
    )
    more = {
        "reserved_micros": b.reserved_micros + wanted.micros,
        "reserved_tokens": b.reserved_tokens + wanted.tokens,
    }
    return tx.execute(update(budgets).where(*fits).values(**more)).rowcount == 1


def _move(tx: Tx, scope: str, micros: int, tokens: int, used: Cost) -> None:
    """Take from what is reserved, add to what was spent."""
    b = budgets.c
    values = {
        "reserved_micros": b.reserved_micros - micros,
        "reserved_tokens": b.reserved_tokens - tokens,
        "spent_micros": b.spent_micros + used.micros,
        "spent_tokens": b.spent_tokens + used.tokens,
    }
    tx.execute(update(budgets).where(b.scope == scope).values(**values))


def _held(tx: Tx, command_id: str) -> list[Mapping[str, Any]]:
    query = select(reservations).where(reservations.c.command_id == command_id).order_by(reservations.c.scope)
    return [dict(row) for row in tx.execute(query).mappings()]


def _scopes(tx: Tx, command_id: str) -> list[Mapping[str, Any]]:
    """The budgets of which a command holds a part."""
    held = select(reservations.c.scope).where(reservations.c.command_id == command_id)
    return [dict(row) for row in tx.execute(select(budgets).where(budgets.c.scope.in_(held))).mappings()]


def _exceeded(tx: Tx, scope: str, wanted: Cost) -> Invalid:
    row = tx.execute(select(budgets).where(budgets.c.scope == scope)).mappings().one()
    told = []
    for kind, amount, show in (("tokens", wanted.tokens, str), ("micros", wanted.micros, _dollars)):
        cap = row[f"cap_{kind}"]
        if cap is not None:
            left = max(0, cap - row[f"reserved_{kind}"] - row[f"spent_{kind}"])
            told.append(
                f"{show(amount)} wanted and {show(left)} left"
                if kind == "micros"
                else f"{amount} tokens wanted and {left} left"
            )
    what, _, _ = scope.partition(":")
    return Invalid(
        f"the budget of the {what} does not allow it: {'; '.join(told)}", code="budget_exceeded", extra={"scope": scope}
    )


def _dollars(micros: int) -> str:
    return f"${micros / 1e6:f}"
