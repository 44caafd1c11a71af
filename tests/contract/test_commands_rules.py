"""The governor's rules on each backend: budgets, locks, approvals, each within one transaction."""

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import insert, select

from orchestrator.contracts.costs import Bound, Cost
from orchestrator.contracts.errors import Invalid
from orchestrator.governance.commands import approvals, budgets, journal, locks
from orchestrator.governance.commands.locks import Locked
from orchestrator.storage import schema
from orchestrator.storage.port import Store, Tx

TEN = {"context:c": Bound(tokens=10)}
T0, T1, T2, T3 = (f"2026-01-01T00:00:0{n}.000Z" for n in range(4))


@pytest.fixture(autouse=True)
async def filled(store: Store) -> None:
    """Commands of these names."""
    await store.write(lambda tx: [command(tx, name) for name in ("a", "b", *map(str, range(64)))])


def command(tx: Tx, name: str) -> None:
    row = {
        "id": name, "identity_id": "i", "context_id": "c", "sphere": "personal", "intent": "do", "status": "created",
        "estimated_cost": {}, "created_at": T0, "asked": {}, "approval_mode": "plan", "plan_version": 0,
        "updated_at": T0,
    }  # fmt: skip
    tx.execute(insert(schema.commands), row)


class TestBudgets:
    """R4-11: reserved before an approval is possible, settled, released."""

    async def test_what_fits_is_held_and_what_does_not_changes_nothing(self, store):
        await store.write(lambda tx: budgets.reserve(tx, "a", Cost(tokens=6), TEN))
        with pytest.raises(Invalid, match="5 tokens wanted and 4 left") as caught:
            await store.write(lambda tx: budgets.reserve(tx, "b", Cost(tokens=5), TEN))
        assert (caught.value.code, caught.value.extra["scope"]) == ("budget_exceeded", "context:c")
        assert await store.read(lambda tx: budgets.left_of(tx, "b")) is None
        assert await store.read(lambda tx: budgets.left_of(tx, "a")) == Cost(tokens=6)

    async def test_what_does_not_fit_in_one_scope_is_taken_from_none(self, store):
        both = {"command:a": Bound(), "context:c": Bound(usd=Decimal("0.5"))}
        with pytest.raises(Invalid, match=r"\$1\.000000 wanted and \$0\.500000 left"):
            await store.write(lambda tx: budgets.reserve(tx, "a", Cost(usd=Decimal(1)), both))
        assert await self.sums(store) == {}

    async def test_what_was_used_is_spent_and_the_rest_given_back(self, store):
        await store.write(lambda tx: budgets.reserve(tx, "a", Cost(tokens=6), TEN))
        assert await store.write(lambda tx: budgets.spend(tx, "a", Cost(tokens=2)))
        assert await self.sums(store) == {"context:c": (4, 2)}
        for _ in range(2):
            await store.write(lambda tx: budgets.release(tx, "a"))
            assert await self.sums(store) == {"context:c": (0, 2)}

    async def test_what_went_past_the_reservation_is_booked_and_said(self, store):
        await store.write(lambda tx: budgets.reserve(tx, "a", Cost(tokens=6), TEN))
        assert not await store.write(lambda tx: budgets.spend(tx, "a", Cost(tokens=7)))
        assert await self.sums(store) == {"context:c": (0, 7)}

    async def test_a_lower_bound_takes_nothing_back_and_admits_no_more(self, store):
        await store.write(lambda tx: budgets.reserve(tx, "a", Cost(tokens=6), TEN))
        with pytest.raises(Invalid, match="1 tokens wanted and 0 left"):
            await store.write(lambda tx: budgets.reserve(tx, "b", Cost(tokens=1), {"context:c": Bound(tokens=3)}))

    async def test_a_budget_of_nothing_admits_nothing(self, store):
        """CONTRACT 5: every step is estimated at 1 token or more."""
        with pytest.raises(Invalid):
            await store.write(lambda tx: budgets.reserve(tx, "a", Cost(tokens=1), {"command:a": Bound(tokens=0)}))

    @pytest.mark.parametrize("round_", range(4))
    async def test_sixty_four_at_once_never_hold_more_than_the_cap(self, store, round_):
        """3.2 "budget race": no overspending; afterwards what is held is the sum of what was given."""
        wanted = Cost(tokens=3)
        outcomes = await asyncio.gather(
            *(store.write(lambda tx, n=n: budgets.reserve(tx, str(n), wanted, TEN)) for n in range(64)),
            return_exceptions=True,
        )
        assert sum(outcome is None for outcome in outcomes) == 3
        assert await self.sums(store) == {"context:c": (9, 0)}

    async def sums(self, store):
        b = schema.budgets.c
        rows = await store.read(lambda tx: tx.execute(select(b.scope, b.reserved_tokens, b.spent_tokens)).all())
        return {scope: (held, spent) for scope, held, spent in rows if held or spent}


class TestLocks:
    """R4-12: shared for pure steps, exclusive for others; leases and fencing."""

    async def test_pure_work_shares_a_scope_and_other_work_has_it_alone(self, store):
        await store.write(lambda tx: locks.acquire(tx, "c", "a", "shared", T0, T2))
        await store.write(lambda tx: locks.acquire(tx, "c", "b", "shared", T0, T2))
        with pytest.raises(Locked) as caught:
            await store.write(lambda tx: locks.acquire(tx, "c", "1", "exclusive", T0, T2))
        assert (caught.value.status, caught.value.code) == (423, "scope_locked")
        for holder in ("a", "b"):
            await store.write(lambda tx, holder=holder: locks.release(tx, "c", holder))
        await store.write(lambda tx: locks.acquire(tx, "c", "1", "exclusive", T0, T2))
        with pytest.raises(Locked) as caught:
            await store.write(lambda tx: locks.acquire(tx, "c", "a", "shared", T0, T2))
        assert caught.value.extra == {"holder": "1", "lease_until": T2}

    async def test_another_scope_is_another_lock(self, store):
        await store.write(lambda tx: locks.acquire(tx, "c", "a", "exclusive", T0, T2))
        await store.write(lambda tx: locks.acquire(tx, "d", "b", "exclusive", T0, T2))

    async def test_after_its_lease_the_next_holder_has_a_larger_token_and_the_first_writes_nothing(self, store):
        """3.2 "lock leakage": a holder that slept past its lease is stale."""
        first = await store.write(lambda tx: locks.acquire(tx, "c", "a", "exclusive", T0, T1))
        assert await store.write(lambda tx: locks.holds(tx, "c", "a", first, T0))
        assert not await store.write(lambda tx: locks.holds(tx, "c", "a", first, T1))
        second = await store.write(lambda tx: locks.acquire(tx, "c", "b", "exclusive", T1, T3))
        assert second > first
        assert not await store.write(lambda tx: locks.renew(tx, "c", "a", first, T1, T3))
        assert await store.write(lambda tx: locks.holds(tx, "c", "b", second, T2))

    async def test_a_lease_is_renewed_by_the_token_that_holds(self, store):
        token = await store.write(lambda tx: locks.acquire(tx, "c", "a", "exclusive", T0, T1))
        assert await store.write(lambda tx: locks.renew(tx, "c", "a", token, T0, T3))
        assert await store.write(lambda tx: locks.holds(tx, "c", "a", token, T2))

    async def test_tokens_grow_also_when_nobody_holds_the_scope(self, store):
        tokens = []
        for _ in range(3):
            tokens.append(await store.write(lambda tx: locks.acquire(tx, "c", "a", "exclusive", T0, T1)))
            await store.write(lambda tx: locks.release(tx, "c", "a"))
        assert tokens == sorted(set(tokens))

    @pytest.mark.parametrize("round_", range(4))
    async def test_of_sixty_four_at_once_one_has_it(self, store, round_):
        outcomes = await asyncio.gather(
            *(
                store.write(lambda tx, n=n: locks.acquire(tx, "c", str(n), "exclusive", T0, T2))
                for n in range(64)
            ),
            return_exceptions=True,
        )  # fmt: skip
        assert sum(isinstance(outcome, int) for outcome in outcomes) == 1


class TestApprovals:
    """3.1: bound to a digest, decided once, consumed once, expired by the store's clock."""

    async def ask(self, store, digest="d1", expires_at=T2):
        return await store.write(lambda tx: approvals.request(tx, "a", 1, digest, "i", T0, expires_at))

    async def state(self, store):
        return (await store.read(lambda tx: approvals.current(tx, "a")))["state"]

    async def test_it_is_given_once_and_used_once(self, store):
        id_ = await self.ask(store)
        assert await store.write(lambda tx: approvals.approve(tx, id_, "d1", "p", T1, "fine")) is None
        assert await self.state(store) == "approved"
        assert await store.write(lambda tx: approvals.consume(tx, id_, "d1", T1)) is None
        assert await self.state(store) == "consumed"
        again = await store.write(lambda tx: approvals.consume(tx, id_, "d1", T1))
        assert (again.code, again.extra["winner"]) == ("illegal_transition", "consumed")

    async def test_it_is_for_the_plan_that_was_shown_and_no_other(self, store):
        id_ = await self.ask(store)
        wrong = await store.write(lambda tx: approvals.approve(tx, id_, "d2", "p", T1, None))
        assert (wrong.code, await self.state(store)) == ("plan_changed", "pending")
        await store.write(lambda tx: approvals.approve(tx, id_, "d1", "p", T1, None))
        wrong = await store.write(lambda tx: approvals.consume(tx, id_, "d2", T1))
        assert (wrong.code, await self.state(store)) == ("plan_changed", "approved")

    @pytest.mark.parametrize("now", [T2, T3])
    async def test_at_its_deadline_it_is_over_whether_anybody_swept_or_not(self, store, now):
        """R4-17, 3.2 "approval after time-out"; the refusal is committed with the expiry."""
        id_ = await self.ask(store)
        late = await store.write(lambda tx: approvals.approve(tx, id_, "d1", "p", now, None))
        assert (late.code, await self.state(store)) == ("approval_expired", "expired")

    async def test_one_that_was_given_in_time_and_used_too_late_is_over(self, store):
        id_ = await self.ask(store)
        await store.write(lambda tx: approvals.approve(tx, id_, "d1", "p", T1, None))
        late = await store.write(lambda tx: approvals.consume(tx, id_, "d1", T2))
        assert (late.code, await self.state(store)) == ("approval_expired", "expired")

    async def test_a_new_request_makes_the_old_one_void(self, store):
        """R4-16, X-28: what was approved before is not what is asked for now."""
        old = await self.ask(store)
        await store.write(lambda tx: approvals.approve(tx, old, "d1", "p", T1, None))
        await self.ask(store, "d2")
        stale = await store.write(lambda tx: approvals.consume(tx, old, "d1", T1))
        assert stale.extra["winner"] == "void"

    @pytest.mark.parametrize("round_", range(4))
    async def test_of_many_decisions_at_once_the_first_holds_and_the_others_are_told_which(self, store, round_):
        """3.2 "approve vs reject": first commit wins."""
        id_ = await self.ask(store)

        def decide(tx, n):
            if n % 2:
                return approvals.reject(tx, id_, f"p{n}", T1, None)
            return approvals.approve(tx, id_, "d1", f"p{n}", T1, None)

        outcomes = await asyncio.gather(*(store.write(lambda tx, n=n: decide(tx, n)) for n in range(64)))
        assert sum(outcome is None for outcome in outcomes) == 1
        told = {outcome.extra["winner"] for outcome in outcomes if outcome is not None}
        assert told == {await self.state(store)}


class TestAttempts:
    """I4: one outcome for each."""

    async def test_an_attempt_ends_once_and_keeps_its_first_outcome(self, store):
        number = await store.write(lambda tx: journal.begin(tx, "a", 1, 0, 7, T0, None))
        ends = [
            await store.write(lambda tx, outcome=outcome: journal.end(tx, "a", 1, 0, T1, outcome))
            for outcome in ("completed", "crashed")
        ]
        rows = await store.read(
            lambda tx: tx.execute(select(schema.attempts.c.attempt, schema.attempts.c.outcome)).all()
        )
        assert (ends, [tuple(row) for row in rows]) == ([True, False], [(number, "completed")])
