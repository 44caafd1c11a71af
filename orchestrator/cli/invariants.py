"""`doctor --invariants`: what must hold of the store at every moment, read from the store itself."""

from orchestrator.audit.anchors import Anchored, Anchors
from orchestrator.cli.output import CliFault, table
from orchestrator.config.places import Places
from orchestrator.contracts.errors import StartRefused
from orchestrator.governance.invariants import recorded, running
from orchestrator.governance.invariants.findings import Finding
from orchestrator.storage.looking import look_into
from orchestrator.storage.port import Tx
from orchestrator.storage.settings import StorageSettings

_STATES = {True: "ok", False: "broken", None: "later"}


def check(where: Places, storage: StorageSettings, *, as_json: bool) -> None:
    """Print the findings. Raises `CliFault` where one of them is broken, or the store cannot be read."""
    known = Anchors.written(where.state)  # before the rows that they vouch for

    def work(tx: Tx) -> list[Finding]:
        return findings(tx, known)

    try:
        found = look_into(storage, where.database, where.blobs, work)
    except StartRefused as fault:
        raise CliFault(fault.detail, 3, {"code": fault.code}) from None
    rows = [
        {"name": one.name, "state": _STATES[one.holds], "counted": one.counted, "detail": one.detail} for one in found
    ]
    table(rows, ["name", "state", "detail"], as_json)
    if broken := [one.name for one in found if one.holds is False]:
        raise CliFault(f"{', '.join(broken)} broken", 1, {"code": "invariant_broken"})


def findings(tx: Tx, known: Anchored) -> list[Finding]:
    """All twelve, in their order."""
    return [*(check(tx) for check in running.CHECKS), *recorded.check(tx, known)]
