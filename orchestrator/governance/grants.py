"""What may be done at once: on the strength of the default grant, or of one that a person made (CONTRACT 5, X-01).

The default grant of the first start covers network-less sandboxed code. A file in a plugin folder is its owner's grant
for that plugin at that digest, as long as the default grant stands. Each use is named in the audit row of what it
allowed. The default grant is answered for by memory; a use of another one is consumed in the store.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import LOOPBACK, Caller
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import Forbidden
from orchestrator.contracts.permits import Permit
from orchestrator.governance import grant_uses
from orchestrator.governance.commands.bases import Basis
from orchestrator.governance.grant_uses import Use
from orchestrator.governance.identities import Identity
from orchestrator.governance.permits import PermitOffice
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.host.tables import capability_of
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import grants

EXECUTE = "sandbox.execute"
EXECUTE_VERSION = "1"
DEFAULT, PLUGIN_FILE = "default", "plugin_file"


class NoGrant(Forbidden):
    """No grant covers it: a person has to be asked (`no_grant`)."""

    default_code = "no_grant"


@dataclass(frozen=True, slots=True)
class Grant:
    """A person's standing permission."""

    id: str
    granted_by: str


def identity_of(caller: Caller) -> str | None:
    """Whose call it is; None for a keyless one."""
    return None if caller.owner == LOOPBACK else caller.owner


class Grants:
    """Finds the grant that covers a capability and turns it into a permit."""

    def __init__(
        self, store: Store, journal: Journal, office: PermitOffice, clock: Clock, settings: GovernanceSettings
    ) -> None:
        self._store = store
        self._journal = journal
        self._office = office
        self._clock = clock
        self._settings = settings
        self._covering: dict[str, Grant] = {}
        self._withdrawn: set[str] = set()
        self._operator = ""

    async def open(self, operator: Identity) -> None:
        """Load the default grants; on first start make the first, in the operator's name. A revoked one stays so."""
        self._operator = operator.id
        query = select(grants).where(grants.c.kind.in_((DEFAULT, PLUGIN_FILE)))
        rows = await self._store.read(lambda tx: tx.execute(query).mappings().all())
        for row in rows:
            self._cover(row)
        if not rows:
            await self._make(DEFAULT, [{"name": EXECUTE, "version": EXECUTE_VERSION}], sandbox="network-less")

    def revoked(self, row: Mapping[Any, Any]) -> None:
        """A grant has been revoked, and what rests on it by memory with it."""
        if row["kind"] != grant_uses.STANDING:
            self._cover(row)

    async def plugin_permit(
        self, name: str, digest: str, subject: str, caller: Caller, use: Callable[[], Use] | None = None
    ) -> Permit:
        """A permit to call a plugin in one version; with `use`, also on the strength of a grant that covers that.

        A file that the host serves is its owner's standing approval, bound to its digest (CONTRACT 3); it is recorded
        as a grant before its first use. Raises `NoGrant`.
        """
        capability = capability_of(name, digest)
        if EXECUTE in self._covering and name not in self._settings.ungranted_plugins:
            if capability not in self._covering and capability not in self._withdrawn:
                await self._make(PLUGIN_FILE, [{"name": f"plugin:{name}", "digest": digest}])
            if capability in self._covering:
                return self.permit(capability, subject, caller)
        return await self._consumed(capability, subject, caller, None if use is None else use())

    async def execution_permit(
        self, subject: str, caller: Caller, isolation: str, estimate: Cost, under: Permit | None = None
    ) -> Permit:
        """A permit to run code: by the default grant, by what allows the plugin that runs it, or by a grant for code.

        `under` is the permit of the plugin's call. Raises `NoGrant`.
        """
        if EXECUTE in self._covering:
            return self.permit(EXECUTE, subject, caller)
        if under is not None and await self._shelters(under, isolation):
            return self._office.issue(EXECUTE, subject, caller, under.basis, under.basis_id, under.approved_by)
        use = Use(frozenset({EXECUTE}), EXECUTE_VERSION, "", estimate, identity_of(caller), isolation)
        return await self._consumed(EXECUTE, subject, caller, use)

    def permit(self, capability: str, subject: str, caller: Caller) -> Permit:
        """A permit resting on the default grant that covers `capability`. Raises `NoGrant` without one."""
        grant = self._covering.get(capability)
        if grant is None:
            raise NoGrant(f"no grant covers {capability}")
        return self._office.issue(capability, subject, caller, "grant", grant.id, grant.granted_by)

    def resting_on(self, basis: Basis, capability: str, subject: str, caller: Caller) -> Permit:
        """A permit for what a person has approved after all."""
        return self._office.issue(capability, subject, caller, basis.kind, basis.id, basis.person)

    async def _consumed(self, capability: str, subject: str, caller: Caller, use: Use | None) -> Permit:
        """A permit resting on a use of a grant, which is consumed and written down here."""

        def work(tx: Tx) -> tuple[Grant | None, list[Entry]]:
            row = None if use is None else grant_uses.consume(tx, use, self._store.now(tx))
            if row is None:
                return None, []
            data = {"capability": capability, "approved_by": row["granted_by"]}
            used = Entry("grant.used", subject, caller.owner, "ok", data, caller.owner, row["id"])
            return Grant(row["id"], row["granted_by"]), [used]

        grant = await self._journal.write(work)
        if grant is None:
            raise NoGrant(f"no grant covers {capability}")
        return self._office.issue(capability, subject, caller, "grant", grant.id, grant.granted_by)

    async def _shelters(self, under: Permit, isolation: str) -> bool:
        """Whether what allowed a plugin's call allows the code that it runs: an approval does, a grant may."""
        if under.basis == "approval":
            return True
        row = await self._store.read(lambda tx: grant_uses.holds(tx, under.basis_id, self._store.now(tx)))
        return row is not None and row["sandbox"] is not None and grant_uses.shelters(row["sandbox"], isolation)

    async def _make(self, kind: str, capabilities: list[dict[str, str]], sandbox: str | None = None) -> None:
        row: dict[str, Any] = {
            "id": new_id(),
            "kind": kind,
            "capabilities": capabilities,
            "sandbox": sandbox,
            "budget_per_use": None,
            "budget_total": None,
            "uses_left": None,
            "expires_at": None,
            "granted_by": self._operator,
            "created_at": rfc3339(self._clock.now()),
            "revoked_at": None,
        }

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            tx.execute(insert(grants), row)
            data = {"kind": kind, "capabilities": capabilities, "sandbox": sandbox}
            return None, [Entry("grant.created", row["id"], self._operator, data=data, approval_id=row["id"])]

        await self._journal.write(work)
        self._cover(row)

    def _cover(self, row: Mapping[Any, Any]) -> None:
        grant = Grant(row["id"], row["granted_by"])
        for capability in row["capabilities"]:
            name, digest = capability["name"], capability.get("digest")
            covered = f"{name}@{digest}" if digest else name
            if row["revoked_at"] is not None:
                self._covering.pop(covered, None)
                self._withdrawn.add(covered)
            elif covered not in self._withdrawn:
                self._covering[covered] = grant
