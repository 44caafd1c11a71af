"""The rooms that endpoints speak to, put together by the daemon."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.api.settings import ApiSettings
from orchestrator.audit.journal import Journal
from orchestrator.audit.reading import AuditReader
from orchestrator.contracts.profiles import ProfileView
from orchestrator.governance.commands.results import Results
from orchestrator.governance.commands.service import Commands
from orchestrator.governance.contexts import Contexts
from orchestrator.governance.couriers import Couriers
from orchestrator.governance.executions import Executions
from orchestrator.governance.granting import Granting
from orchestrator.governance.halts import Halts
from orchestrator.governance.identities import Identities
from orchestrator.governance.incidents import Incidents
from orchestrator.governance.keys import Keys
from orchestrator.governance.plans.service import Plans
from orchestrator.governance.sessions import Sessions
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.governance.webhooks import Webhooks
from orchestrator.host.host import Host
from orchestrator.kernel.clock import Clock
from orchestrator.kernel.metrics import Metrics
from orchestrator.routing.desk import Desk
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store


@dataclass(slots=True)
class Rooms:
    """Everything that an endpoint may use. `checks` answers the parts' health, `draining` is set on the way out."""

    settings: ApiSettings
    governance: GovernanceSettings
    clock: Clock
    metrics: Metrics
    store: Store
    blobs: Blobs
    journal: Journal
    audit: AuditReader
    identities: Identities
    granting: Granting
    contexts: Contexts
    keys: Keys
    executions: Executions
    sessions: Sessions
    commands: Commands
    results: Results
    incidents: Incidents
    halts: Halts
    webhooks: Webhooks
    couriers: Couriers
    plans: Plans
    host: Host
    desk: Desk
    profiles: Callable[[], list[ProfileView]]
    checks: Callable[[], dict[str, dict[str, Any]]]
    version: str
    started: bool = False
    draining: bool = False
