"""The journal on each store: events and a chain that holds, told only when they are committed."""

import asyncio

import pytest
from sqlalchemy import insert

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.audit.reading import AuditReader
from orchestrator.bus.local import LocalBus
from orchestrator.contracts.callers import LOOPBACK, Caller, Scope
from orchestrator.contracts.events import Event
from orchestrator.kernel.clock import FakeClock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import identities
from tests.contract.stores import Ground


@pytest.fixture
async def journal(store: Store, supervisor: Supervisor) -> Journal:
    opened = Journal(store, LocalBus(supervisor, Metrics()), FakeClock())
    await opened.open()
    return opened


def entry(topic: str = "query.completed", owner: str | None = LOOPBACK) -> Entry:
    return Entry(topic, "subject", LOOPBACK, owner=owner)


async def test_entries_become_events_and_a_chain_that_holds(journal: Journal, store: Store) -> None:
    await asyncio.gather(*(journal.record(entry()) for _ in range(50)))
    reader = AuditReader(store)
    verdict = await reader.verify()
    assert (verdict.ok, verdict.entries, verdict.first_bad) == (True, 50, None)
    rows = await reader.page(limit=10)
    assert [row["seq"] for row in rows] == list(range(50, 40, -1))
    assert [row["seq"] for row in await reader.page(limit=10, before=5)] == [4, 3, 2, 1]


async def test_a_row_changed_in_the_database_is_found(journal: Journal, store: Store, ground: Ground) -> None:
    for _ in range(5):
        await journal.record(entry())
    await ground.rows("UPDATE audit SET actor = 'somebody else' WHERE seq = 3")
    assert (await AuditReader(store).verify()).first_bad == 3


async def test_the_bus_hears_only_what_was_committed(journal: Journal, store: Store) -> None:
    heard: list[Event] = []
    done = asyncio.Event()

    def listen(event: Event) -> None:
        heard.append(event)
        if event.topic == "last":
            done.set()

    journal._bus.subscribe(">", listen, name="test")

    def failing(tx: Tx) -> tuple[None, list[Entry]]:
        tx.execute(insert(identities), {"id": "x", "kind": "person", "name": "x", "created_at": "now"})
        raise ValueError("rolled back")

    with pytest.raises(ValueError, match="rolled back"):
        await journal.write(failing)
    await journal.record(entry("first"), entry("last"))
    await asyncio.wait_for(done.wait(), 5)
    assert [(e.seq, e.topic) for e in heard] == [(1, "first"), (2, "last")]


async def test_events_are_for_their_owner_and_the_daemons_own_for_key_holders(journal: Journal, store: Store) -> None:
    """CONTRACT 1, "Whose"."""
    await journal.record(
        entry(owner="alice"), entry(owner="bob"), entry("plugin.loaded", None), entry(), entry("sandbox.started")
    )
    reader = AuditReader(store)

    async def seen(owner: str, kind: str, *scopes: Scope) -> list[int]:
        found, _ = await reader.events_after(0, Caller(owner, kind, frozenset(scopes), key_id="k"))
        return [e.seq for e in found]

    assert await seen("alice", "person", Scope.QUERY) == [1, 3]
    assert await seen("bob", "service", Scope.QUERY) == [2, 3]
    assert await seen(LOOPBACK, "loopback", Scope.QUERY) == [4]
    assert await seen("root", "person", Scope.ADMIN) == [1, 2, 3, 4, 5]


async def test_a_reader_never_skips_an_event_it_may_see(journal: Journal, store: Store) -> None:
    for n in range(25):
        await journal.record(entry(owner="alice" if n % 2 else "bob"))
    alice, seq, seen = Caller("alice", "person", frozenset({Scope.QUERY}), key_id="k"), 0, []
    reader = AuditReader(store)
    while True:
        found, following = await reader.events_after(seq, alice, limit=5)
        seen += [e.seq for e in found]
        if following == seq:
            break
        seq = following
    assert seen == list(range(2, 26, 2))
