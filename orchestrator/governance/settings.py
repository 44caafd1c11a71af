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
    undo_retry_s: float = Field(
        1.0, gt=0, le=3600, description="How long to wait before an effect that could not be undone is tried again."
    )
    undo_grace_s: float = Field(
        5.0, ge=0, le=3600, description="How long a cancelled step has to end before what it did is undone."
    )
    overspend_tolerance: float = Field(
        0.1,
        ge=0,
        le=10,
        description="How far past a budget, as a share of it, a command may come before it is stopped.",
    )
    public_url: str = Field(
        "", max_length=500, description="Where people reach this daemon, for addresses in webhooks; its own if empty."
    )
    webhook_attempts: int = Field(8, ge=1, le=100, description="How often an event is posted before it is given up.")
    webhook_retry_s: float = Field(1.0, gt=0, le=3600, description="The wait before the second try; it doubles.")
    webhook_rest_s: float = Field(
        300.0, gt=0, le=86_400, description="How long a receiver is left alone when an event was given up."
    )
    webhook_timeout_s: float = Field(10.0, gt=0, le=60, description="How long a receiver may take.")
    permit_ttl_s: float = Field(300.0, gt=0, description="How long a permit that is not used stays good.")
    policy_hooks: list[str] = Field(
        [],
        description="Hooks that are asked before each step of a plan, in this order: rate_limiter, audit_logger, "
        "security_check, and those of installed distributions (entry points orchestrator.policy_hooks).",
    )
    policy_timeout_s: float = Field(5.0, gt=0, le=600, description="How long a hook may think. Then its answer is no.")
    policy_rate_per_minute: int = Field(
        60, ge=1, le=1_000_000, description="rate_limiter: runs of one capability within a minute for one user."
    )
    policy_permissions: dict[str, list[str]] = Field(
        {"*": ["*"]},
        description="security_check: which capabilities (patterns such as mail_*) each user may use; * is everybody.",
    )
