"""What the governor may be told."""

from pydantic import Field

from orchestrator.contracts.callers import Scope
from orchestrator.contracts.model import Model


class GovernanceSettings(Model):
    """Keys, scopes of intents, permits."""

    require_key: bool = Field(
        False,
        description="Demand a key for queries too. A daemon that listens beyond loopback refuses to start without.",
    )
    intent_scopes: dict[str, Scope] = Field(
        {"run_code": Scope.EXECUTE, "evolve": Scope.EVOLVE},
        description="The scope that a query of this intent needs, through every door.",
    )
    permit_ttl_s: float = Field(300.0, gt=0, description="How long a permit that is not used stays good.")
