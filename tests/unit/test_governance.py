"""Identities, keys and grants over a real store: made once, kept as hashes, named in the audit (R2-15, X-01)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from orchestrator.audit.journal import Journal
from orchestrator.audit.reading import AuditReader
from orchestrator.bus.local import LocalBus
from orchestrator.contracts.callers import LOOPBACK, Caller, Scope
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import Forbidden, Invalid, NotFound
from orchestrator.governance.commands.bases import Basis
from orchestrator.governance.grants import EXECUTE, Grants, NoGrant
from orchestrator.governance.identities import Identities, Identity
from orchestrator.governance.keys import Keys
from orchestrator.governance.permits import PermitOffice
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.host.tables import capability_of
from orchestrator.kernel.clock import FakeClock
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.schema import grants, keys
from orchestrator.storage.settings import StorageSettings
from orchestrator.storage.sqlite import SqliteStore

CALLER = Caller(owner=LOOPBACK, kind="loopback", scopes=frozenset())


@dataclass
class World:
    store: SqliteStore
    journal: Journal
    clock: FakeClock
    identities: Identities
    operator: Identity
    keys: Keys
    office: PermitOffice
    grants: Grants

    async def actions(self) -> list[str]:
        return [row["action"] for row in await AuditReader(self.store).page(limit=100)]


async def opened(path: Path, supervisor: Supervisor) -> World:
    clock = FakeClock()
    store = SqliteStore(path, path.with_name("b.db"), StorageSettings(), Metrics(), clock)
    journal = Journal(store, LocalBus(supervisor, Metrics()), clock)
    await journal.open()
    identities = Identities(store, journal, clock)
    operator = await identities.open()
    held, office = Keys(store, journal, identities, clock), PermitOffice(clock, 60)
    await held.open()
    allowed = Grants(store, journal, office, clock, GovernanceSettings())
    await allowed.open(operator)
    return World(store, journal, clock, identities, operator, held, office, allowed)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    supervisor = Supervisor()
    made = await opened(tmp_path / "o.db", supervisor)
    yield made
    await made.store.close()
    await supervisor.close()


async def test_the_first_start_makes_one_operator_with_one_context_and_one_default_grant(world: World) -> None:
    """CONTRACT 0 and 5."""
    assert (world.operator.kind, world.operator.name) == ("person", "operator")
    contexts = await world.identities.contexts_of(world.operator.id)
    assert [(c["sphere"], c["active"]) for c in contexts] == [("personal", True)]
    assert sorted(await world.actions()) == ["grant.created", "identity.created"]


async def test_a_later_start_finds_them_and_makes_nothing(world: World, tmp_path: Path) -> None:
    key, secret = await world.keys.create("ci", frozenset({Scope.QUERY}), world.operator.id, "test")
    await world.grants.plugin_permit("echo", "d1", "q1", CALLER)
    before = await world.actions()
    await world.store.close()
    supervisor = Supervisor()
    again = await opened(tmp_path / "o.db", supervisor)
    assert again.operator == world.operator
    assert again.keys.caller(secret) is not None
    await again.grants.plugin_permit("echo", "d1", "q2", CALLER)
    assert await again.actions() == before
    assert key.id in {k.id for k in again.keys.list()}
    await again.store.close()
    await supervisor.close()


async def test_a_key_names_its_holder_until_it_expires_or_is_revoked(world: World) -> None:
    expires = world.clock.now() + timedelta(hours=1)
    key, secret = await world.keys.create(
        "ci", frozenset({Scope.EXECUTE}), world.operator.id, "test", expires_at=expires
    )
    caller = world.keys.caller(secret)
    assert caller is not None
    assert (caller.owner, caller.key_id, caller.may(Scope.EXECUTE), caller.may(Scope.QUERY)) == (
        world.operator.id,
        key.id,
        True,
        False,
    )
    assert world.keys.caller(secret + "x") is None
    assert world.keys.caller("\ud800") is None
    world.clock.advance(3600)
    assert world.keys.caller(secret) is None
    forever, other = await world.keys.create("x", frozenset({Scope.ADMIN}), world.operator.id, "test")
    assert world.keys.caller(other) is not None
    assert (await world.keys.revoke(forever.id, "test")).revoked_at is not None
    assert world.keys.caller(other) is None
    await world.keys.revoke(forever.id, "test")
    assert (await world.actions()).count("key.revoked") == 1


async def test_keys_are_for_identities_that_there_are(world: World) -> None:
    with pytest.raises(Invalid):
        await world.keys.create("x", frozenset({Scope.QUERY}), "nobody", "test")
    with pytest.raises(NotFound):
        await world.keys.revoke("none", "test")


async def test_the_store_keeps_a_hash_and_never_the_key(world: World) -> None:
    _, secret = await world.keys.create("ci", frozenset({Scope.QUERY}), world.operator.id, "test")
    rows = await world.store.read(lambda tx: tx.execute(select(keys)).mappings().all())
    assert all(secret not in str(dict(row)) for row in rows)


async def test_a_permit_rests_on_a_grant_and_names_the_person(world: World) -> None:
    permit = world.grants.permit(EXECUTE, "job", CALLER)
    assert (permit.basis, permit.approved_by) == ("grant", world.operator.id)
    world.office.check(permit, EXECUTE, "job")
    with pytest.raises(Forbidden, match="no grant covers"):
        world.grants.permit("email.send", "job", CALLER)


async def revoke_default(world: World) -> None:
    g = grants.c
    (row,) = await world.store.read(
        lambda tx: tx.execute(select(grants).where(g.kind == "default")).mappings().all()
    )  # fmt: skip
    world.grants.revoked({**row, "revoked_at": "2026-01-01T00:00:00.000Z"})


async def test_what_a_person_approved_allows_the_code_that_it_runs_and_nothing_else_does(world: World) -> None:
    """CONTRACT 5: an approved plugin's, or session's, code rests on the same approval where no default grant stands."""
    await revoke_default(world)
    with pytest.raises(NoGrant):
        await world.grants.execution_permit("job", CALLER, "container", Cost(tokens=1))
    approved = world.grants.resting_on(Basis("approval", "a", "p"), "plugin:x@d", "q", CALLER)
    permit = await world.grants.execution_permit("job", CALLER, "container", Cost(tokens=1), approved)
    assert (permit.basis, permit.basis_id, permit.approved_by) == ("approval", "a", "p")
    granted = world.grants.resting_on(Basis("grant", "g", "p"), "plugin:x@d", "q", CALLER)
    with pytest.raises(NoGrant):
        await world.grants.execution_permit("job", CALLER, "container", Cost(tokens=1), granted)
    row = {
        "id": "g", "kind": "standing", "capabilities": [], "sandbox": "cell", "granted_by": world.operator.id,
        "created_at": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    await world.store.write(lambda tx: tx.execute(insert(grants), row) and None)
    permit = await world.grants.execution_permit("job", CALLER, "cell", Cost(tokens=1), granted)
    assert (permit.basis, permit.basis_id) == ("grant", "g")
    with pytest.raises(NoGrant):
        await world.grants.execution_permit("job", CALLER, "container", Cost(tokens=1), granted)


async def test_a_revoked_default_grant_takes_the_plugins_files_with_it(world: World) -> None:
    await world.grants.plugin_permit("echo", "d1", "q1", CALLER)
    await revoke_default(world)
    with pytest.raises(NoGrant):
        await world.grants.plugin_permit("echo", "d1", "q2", CALLER)


async def test_a_plugins_grant_is_bound_to_its_digest(world: World) -> None:
    """CONTRACT 3: the owner's standing approval."""
    first = await world.grants.plugin_permit("echo", "d1", "q1", CALLER)
    again = await world.grants.plugin_permit("echo", "d1", "q2", CALLER)
    changed = await world.grants.plugin_permit("echo", "d2", "q3", CALLER)
    assert first.basis_id == again.basis_id != changed.basis_id
    with pytest.raises(Forbidden):
        world.office.check(first, capability_of("echo", "d2"), "q1")
    rows = await world.store.read(lambda tx: tx.execute(select(grants)).mappings().all())
    assert [r["capabilities"] for r in rows if r["kind"] == "plugin_file"] == [
        [{"name": "plugin:echo", "digest": "d1"}], [{"name": "plugin:echo", "digest": "d2"}],
    ]  # fmt: skip
