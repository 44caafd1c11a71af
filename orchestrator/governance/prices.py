"""What work costs where no model runs: a processor's seconds and a GiB's, so that budgets bite (CONTRACT 5). Pure.

Everything that is done costs a token or more, so that a budget of none admits nothing.
"""

from decimal import Decimal

from orchestrator.contracts.costs import Cost
from orchestrator.contracts.executions import Execution, Limits
from orchestrator.contracts.model import JsonObject
from orchestrator.governance.settings import GovernanceSettings

_GIB = 2**30


def model(settings: GovernanceSettings) -> JsonObject:
    """The prices themselves, as the registry tells them of each tool (R4-49)."""
    prices = {
        "call": _cost(0, 0, settings),
        "cpu_second": Cost(usd=Decimal(str(settings.cpu_s_usd))),
        "gib_second": Cost(usd=Decimal(str(settings.gib_s_usd))),
    }
    return {f"per_{unit}": price.model_dump(mode="json") for unit, price in prices.items()}


def of_call(seconds: float, settings: GovernanceSettings) -> Cost:
    """A call of a plugin that took so long."""
    return _cost(seconds, seconds * settings.estimated_gib, settings)


def estimate_of_call(timeout_s: float, settings: GovernanceSettings) -> Cost:
    """A call of a plugin that may take so long."""
    return of_call(min(settings.estimated_cpu_s, timeout_s), settings)


def most_of_code(limits: Limits, runs: int, settings: GovernanceSettings) -> Cost:
    """The most that a program can cost within its limits, run so often."""
    held = limits.wall_ms / 1e3 * limits.memory_bytes / _GIB
    return _cost(runs * limits.cpu_ms / 1e3, runs * held, settings)


def of_code(outcome: Execution, limits: Limits, settings: GovernanceSettings) -> Cost:
    """What a program cost: the processor that it used, and the memory that was kept for it."""
    used = outcome.usage
    return _cost(used.cpu_ms / 1e3, used.wall_ms / 1e3 * limits.memory_bytes / _GIB, settings)


def _cost(cpu_s: float, gib_s: float, settings: GovernanceSettings) -> Cost:
    usd = cpu_s * settings.cpu_s_usd + gib_s * settings.gib_s_usd
    return Cost(usd=Decimal(f"{usd:.9f}"), tokens=1)
