"""Uses of standing grants: what one covers, and its consumption (CONTRACT 5, 3.1).

The rules are pure; what reads or writes does so within the caller's transaction. A use is taken by one conditional
update in the transaction of what it admits: revocation, expiry, uses and budget are judged by the database in the same
statement, so that no two can both have the last use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, or_, select, update

from orchestrator.contracts.costs import Bound, Cost
from orchestrator.storage.port import Tx
from orchestrator.storage.schema import grants, identities

STANDING = "standing"
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Use:
    """What somebody wants to do once on the strength of a grant.

    `names` are all that a grant may call it by. `identity` is whose call it is, None for keyless callers. `isolation`
    is what code is to run in. With `four_eyes` a grant of the identity's own does not count (X-26).
    """

    names: frozenset[str]
    version: str
    digest: str
    estimate: Cost
    identity: str | None
    isolation: str | None = None
    four_eyes: bool = False


def covers(grant: Mapping[Any, Any], use: Use) -> bool:
    """Whether a grant, if it is good, is for this."""
    if grant["identity_id"] not in (None, use.identity) or (use.four_eyes and grant["granted_by"] == use.identity):
        return False
    named = any(
        one["name"] in use.names and (one.get("version") == use.version or one.get("digest") == use.digest)
        for one in grant["capabilities"]
    )
    return named and _within(grant["budget_per_use"], use.estimate) and shelters(grant["sandbox"], use.isolation)


def shelters(granted: str | None, isolation: str | None) -> bool:
    """Whether a grant's sandbox class allows code in such an isolation; a grant to run code that names none, any."""
    return isolation is None or granted in (None, "network-less", isolation)


def allot(rows: Sequence[Mapping[Any, Any]], uses: Sequence[Use]) -> list[str | None]:
    """For each use, in order, the grant that would cover it if all were taken now; None where none would. Pure."""
    left = {row["id"]: row["uses_left"] for row in rows}
    spent = {row["id"]: Cost.of(row["spent_micros"], row["spent_tokens"]) for row in rows}
    found: list[str | None] = []
    for use in uses:
        fitting = (
            row["id"] for row in rows
            if covers(row, use) and left[row["id"]] != 0 and _fits(row, spent[row["id"]] + use.estimate)
        )  # fmt: skip
        grant_id = next(fitting, None)
        if grant_id is not None:
            left[grant_id] = None if left[grant_id] is None else left[grant_id] - 1
            spent[grant_id] += use.estimate
        found.append(grant_id)
    return found


def good(tx: Tx, now: str, identity: str | None) -> Sequence[RowMapping]:
    """Standing grants that cover an identity and are not revoked, expired or used up, oldest first."""
    g = grants.c
    own = or_(g.identity_id.is_(None), g.identity_id == identity)
    query = select(grants).where(g.kind == STANDING, own, *_good(now)).order_by(g.id).limit(_MOST)
    return tx.execute(query).mappings().all()


def consume(tx: Tx, use: Use, now: str) -> RowMapping | None:
    """Take one use of the oldest grant that covers it; None where none does."""
    for row in good(tx, now, use.identity):
        if covers(row, use) and _take(tx, row["id"], use.estimate, now):
            return row
    return None


def holds(tx: Tx, grant_id: str, now: str) -> RowMapping | None:
    """A grant of which a use was taken before, if it was not revoked and has not expired since."""
    g = grants.c
    still = (g.id == grant_id, *_unended(now))
    return tx.execute(select(grants).where(*still)).mappings().first()


def settle(tx: Tx, grant_id: str, held: Cost, used: Cost) -> None:
    """Book what a use cost in place of what was held for it."""
    g = grants.c
    values = {
        "spent_micros": g.spent_micros + used.micros - held.micros,
        "spent_tokens": g.spent_tokens + used.tokens - held.tokens,
    }
    tx.execute(update(grants).where(g.id == grant_id).values(**values))


def _take(tx: Tx, grant_id: str, estimate: Cost, now: str) -> bool:
    g = grants.c
    fits = (
        or_(g.cap_micros.is_(None), g.spent_micros + estimate.micros <= g.cap_micros),
        or_(g.cap_tokens.is_(None), g.spent_tokens + estimate.tokens <= g.cap_tokens),
    )
    values = {
        "uses_left": g.uses_left - 1,
        "spent_micros": g.spent_micros + estimate.micros,
        "spent_tokens": g.spent_tokens + estimate.tokens,
    }
    return tx.execute(update(grants).where(g.id == grant_id, *_good(now), *fits).values(**values)).rowcount == 1


def _good(now: str) -> tuple[ColumnElement[bool], ...]:
    return (or_(grants.c.uses_left.is_(None), grants.c.uses_left > 0), *_unended(now))


def _unended(now: str) -> tuple[ColumnElement[bool], ...]:
    """Not revoked, not expired, and its grantor somebody who still has a say."""
    g = grants.c
    active = select(identities.c.id).where(identities.c.active)
    return (g.revoked_at.is_(None), or_(g.expires_at.is_(None), g.expires_at > now), g.granted_by.in_(active))


def _within(most: Any, cost: Cost) -> bool:
    bound = Bound.model_validate(most or {})
    return (bound.usd is None or cost.usd <= bound.usd) and (bound.tokens is None or cost.tokens <= bound.tokens)


def _fits(row: Mapping[Any, Any], spent: Cost) -> bool:
    within_usd = row["cap_micros"] is None or spent.micros <= row["cap_micros"]
    return within_usd and (row["cap_tokens"] is None or spent.tokens <= row["cap_tokens"])
