"""Uses of grants on each backend: one conditional update, so that the last use is taken once (CONTRACT 5, 3.2)."""

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import insert, select, update

from orchestrator.contracts.costs import Bound, Cost
from orchestrator.governance import grant_uses
from orchestrator.governance.grant_uses import Use
from orchestrator.storage import schema
from orchestrator.storage.port import Store, Tx

T0, T1, T2 = (f"2026-01-01T00:00:0{n}.000Z" for n in range(3))
ONE = Cost(usd=Decimal("0.01"), tokens=1)
SHOUT = Use(frozenset({"shout", "loud", "plugin:loud"}), "1.0", "d" * 64, ONE, "me")


@pytest.fixture(autouse=True)
async def people(store: Store) -> None:
    def work(tx: Tx) -> None:
        for name in ("me", "you"):
            tx.execute(insert(schema.identities), {"id": name, "kind": "person", "name": name, "created_at": T0})

    await store.write(work)


async def grant(store: Store, grant_id: str = "g", total: Bound | None = None, **values: object) -> None:
    row = {
        "id": grant_id, "kind": "standing", "capabilities": [{"name": "shout", "version": "1.0"}], "granted_by": "me",
        "created_at": T0, **(total or Bound()).as_row(), **values,
    }  # fmt: skip
    await store.write(lambda tx: tx.execute(insert(schema.grants), row) and None)


async def taken(store: Store, use: Use = SHOUT, now: str = T0) -> str | None:
    def work(tx: Tx) -> str | None:
        row = grant_uses.consume(tx, use, now)
        return None if row is None else str(row["id"])

    return await store.write(work)


async def left(store: Store, grant_id: str = "g") -> tuple[object, ...]:
    g = schema.grants.c
    query = select(g.uses_left, g.spent_tokens, g.spent_micros).where(g.id == grant_id)
    return tuple(await store.read(lambda tx: tx.execute(query).one()))


@pytest.mark.parametrize("batch", range(4))
async def test_sixty_four_at_once_on_ten_uses_take_ten(store: Store, batch: int) -> None:
    """CONTRACT 5: each use consumes it. Twenty-five rounds in each of four batches."""
    for round_ in range(25):
        name = f"g{round_}"
        capabilities = [{"name": name, "version": "1.0"}]
        await grant(store, name, uses_left=10, capabilities=capabilities)
        use = Use(frozenset({name}), "1.0", "", ONE, "me")
        outcomes = await asyncio.gather(*(taken(store, use) for _ in range(64)))
        assert outcomes.count(name) == 10
        assert await left(store, name) == (0, 10, 100_000)


async def test_sixty_four_at_once_never_spend_more_than_the_total(store: Store) -> None:
    await grant(store, total=Bound(usd=Decimal("0.035"), tokens=100))
    outcomes = await asyncio.gather(*(taken(store) for _ in range(64)))
    assert outcomes.count("g") == 3
    assert await left(store) == (None, 3, 30_000)


async def test_revocation_among_sixty_four_uses_ends_them_at_once(store: Store) -> None:
    await grant(store)
    revoke = update(schema.grants).values(revoked_at=T0)
    revoked = store.write(lambda tx: tx.execute(revoke) and None)
    outcomes = await asyncio.gather(*(taken(store) for _ in range(32)), revoked, *(taken(store) for _ in range(32)))
    given = outcomes.count("g")
    assert outcomes[33:] == [None] * 32
    assert await left(store) == (None, given, given * 10_000)


@pytest.mark.parametrize(("values", "use"), [
    ({"expires_at": T0}, SHOUT), ({"revoked_at": T0}, SHOUT), ({"uses_left": 0}, SHOUT),
    ({"identity_id": "you"}, SHOUT), ({"kind": "default"}, SHOUT), ({"granted_by": "gone"}, SHOUT),
    ({"budget_per_use": {"tokens": 0}}, SHOUT), ({"budget_per_use": {"usd": "0.009"}}, SHOUT),
    ({"total": Bound(tokens=0)}, SHOUT), ({"capabilities": [{"name": "shout", "version": "1.1"}]}, SHOUT),
    ({"capabilities": [{"name": "shou", "version": "1.0"}]}, SHOUT),
    ({"capabilities": [{"name": "shout", "digest": "e" * 64}]}, SHOUT),
    ({}, Use(SHOUT.names, "1.0", "", ONE, "me", four_eyes=True)),
    ({"sandbox": "cell"}, Use(SHOUT.names, "1.0", "", ONE, "me", isolation="container")),
])  # fmt: skip
async def test_what_a_grant_does_not_say_it_does_not_cover(store: Store, values: dict, use: Use) -> None:
    await grant(store, **values)
    assert await taken(store, use) is None
    assert (await left(store))[1:] == (0, 0)


@pytest.mark.parametrize("values", [
    {}, {"expires_at": T1}, {"uses_left": 1}, {"identity_id": "me"}, {"budget_per_use": {"usd": "0.01", "tokens": 1}},
    {"total": Bound(tokens=1, usd=Decimal("0.01"))}, {"capabilities": [{"name": "plugin:loud", "digest": "d" * 64}]},
    {"capabilities": [{"name": "other", "version": "1"}, {"name": "loud", "version": "1.0"}]},
])  # fmt: skip
async def test_what_it_says_it_covers(store: Store, values: dict) -> None:
    await grant(store, **values)
    assert await taken(store) == "g"


async def test_of_a_grantor_who_was_switched_off_nothing_holds(store: Store) -> None:
    await grant(store)
    off = update(schema.identities).where(schema.identities.c.id == "me").values(active=False)
    await store.write(lambda tx: tx.execute(off) and None)
    assert await taken(store) is None


async def test_what_was_used_takes_the_place_of_what_was_held(store: Store) -> None:
    await grant(store, total=Bound(tokens=2))
    await taken(store)
    await store.write(lambda tx: grant_uses.settle(tx, "g", ONE, Cost(usd=Decimal("0.002"), tokens=2)))
    assert await left(store) == (None, 2, 2000)
    assert await taken(store) is None


async def test_allotting_counts_what_it_gives_and_takes_nothing(store: Store) -> None:
    await grant(store, "a", uses_left=1)
    await grant(store, "b", total=Bound(tokens=2))
    rows = await store.read(lambda tx: grant_uses.good(tx, T0, "me"))
    assert grant_uses.allot(rows, [SHOUT] * 4) == ["a", "b", "b", None]
    assert await left(store, "a") == (1, 0, 0)
