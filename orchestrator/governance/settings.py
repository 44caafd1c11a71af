"""What the governor may be told."""

from pydantic import Field

from orchestrator.contracts.callers import Scope
from orchestrator.contracts.model import Model, Name


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
    approval_ttl_s: float = Field(
        86_400.0, gt=0, le=31_536_000, description="How long a person has to approve. Then the answer is no."
    )
    four_eyes: bool = Field(
        False,
        description="Approvals and grants are another person's than the one who asked. He sees what awaits him.",
    )
    ungranted_plugins: list[Name] = Field(
        [], description="Plugins that the default grant leaves out: a query to one waits for a person, or a grant."
    )
    lock_lease_s: float = Field(60.0, gt=0, description="How long a scope lock outlives a daemon that died with it.")
    estimated_cpu_s: float = Field(1.0, gt=0, description="What a step is estimated to take, if its plugin may.")
    estimated_gib: float = Field(0.125, gt=0, description="What memory a step is estimated to hold.")
    cpu_s_usd: float = Field(0.00002, ge=0, le=1e6, description="Price of a processor's second, so that budgets bite.")
    gib_s_usd: float = Field(0.000003, ge=0, le=1e6, description="Price of a GiB of memory for a second.")
    permit_ttl_s: float = Field(300.0, gt=0, description="How long a permit that is not used stays good.")
