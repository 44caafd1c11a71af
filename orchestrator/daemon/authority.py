"""Who there is, and what they may do: identities, keys, grants, permits, quotas; halts, and incidents."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from orchestrator.contracts.callers import Scope
from orchestrator.daemon.ground import Ground
from orchestrator.governance.grants import Grants
from orchestrator.governance.halts import Halts
from orchestrator.governance.identities import Identities, Identity
from orchestrator.governance.incidents import Incidents
from orchestrator.governance.keys import PREFIX, Keys
from orchestrator.governance.permits import PermitOffice
from orchestrator.governance.quotas import Quotas


@dataclass(frozen=True, slots=True)
class Authority:
    """See above. `operator` is the person of the first start."""

    identities: Identities
    operator: Identity
    keys: Keys
    incidents: Incidents
    halts: Halts
    office: PermitOffice
    grants: Grants
    quotas: Quotas


async def build(ground: Ground) -> Authority:
    """Read them from the store; on a first start make the operator, its key and the default grant."""
    store, journal, clock, settings = ground.store, ground.journal, ground.clock, ground.settings.governance
    identities = Identities(store, journal, clock)
    operator = await identities.open()
    keys = Keys(store, journal, identities, clock)
    await keys.open()
    await _admin_key(ground.places.admin_key, keys, operator)
    incidents, halts = Incidents(store, journal), Halts(store, journal)
    await halts.open()
    office = PermitOffice(clock, settings.permit_ttl_s, incidents.forged)
    grants = Grants(store, journal, office, clock, settings)
    await grants.open(operator)
    quotas = Quotas(store)
    await quotas.open()
    return Authority(identities, operator, keys, incidents, halts, office, grants, quotas)


async def _admin_key(path: Path, keys: Keys, operator: Identity) -> None:
    """The operator's admin key, made where the file is not there: mode 0600, the key alone on one line (CONTRACT 0)."""
    if path.exists() and keys.caller(path.read_text().strip()) is not None:
        return
    secret = PREFIX + secrets.token_urlsafe(32)
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    await keys.create("admin", frozenset({Scope.ADMIN}), operator.id, "daemon", secret=secret)
    draft.replace(path)
