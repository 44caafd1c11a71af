"""Standing grants: what a person allowed beforehand (CONTRACT 5, X-01).

The default grant of the first start covers network-less sandboxed code. A file in a plugin folder is its owner's grant
for that plugin at that digest. Each use is named in the audit row of what it allowed.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.errors import Forbidden
from orchestrator.contracts.permits import Permit
from orchestrator.governance.identities import Identity
from orchestrator.governance.permits import PermitOffice
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import grants

EXECUTE = "sandbox.execute"


def plugin_capability(name: str, digest: str) -> str:
    """The capability of calling one plugin in one version."""
    return f"plugin:{name}@{digest}"


@dataclass(frozen=True, slots=True)
class Grant:
    """A person's standing permission."""

    id: str
    granted_by: str


class Grants:
    """Finds the grant that covers a capability and turns it into a permit."""

    def __init__(self, store: Store, journal: Journal, office: PermitOffice, clock: Clock) -> None:
        self._store = store
        self._journal = journal
        self._office = office
        self._clock = clock
        self._covering: dict[str, Grant] = {}
        self._operator = ""

    async def open(self, operator: Identity) -> None:
        """Load all grants; on first start make the default one, in the operator's name."""
        self._operator = operator.id
        query = select(grants).where(grants.c.revoked_at.is_(None))
        for row in await self._store.read(lambda tx: tx.execute(query).mappings().all()):
            self._cover(row)
        if EXECUTE not in self._covering:
            await self._make("default", [{"name": EXECUTE, "version": "1"}], sandbox="network-less")

    async def plugin_permit(self, name: str, digest: str, subject: str, caller: Caller) -> Permit:
        """A permit to call a plugin in one version.

        A file that the host serves is its owner's standing approval, bound to its digest (CONTRACT 3); it is recorded
        as a grant before its first use.
        """
        capability = plugin_capability(name, digest)
        if capability not in self._covering:
            await self._make("plugin_file", [{"name": f"plugin:{name}", "digest": digest}])
        return self.permit(capability, subject, caller)

    def permit(self, capability: str, subject: str, caller: Caller) -> Permit:
        """A permit resting on the grant that covers `capability`. Raises `Forbidden` (`no_grant`) without one."""
        grant = self._covering.get(capability)
        if grant is None:
            raise Forbidden(f"no grant covers {capability}", code="no_grant")
        return self._office.issue(capability, subject, caller, "grant", grant.id, grant.granted_by)

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

    def _cover(self, row: Any) -> None:
        grant = Grant(row["id"], row["granted_by"])
        for capability in row["capabilities"]:
            name, digest = capability["name"], capability.get("digest")
            self._covering[f"{name}@{digest}" if digest else name] = grant
