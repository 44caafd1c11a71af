"""Which hooks there are: the files of the folder `hooks`, and those that installed distributions bring.

A distribution names one in the entry point group `orchestrator.policy_hooks`: a `PolicyHook`, or a function without
arguments that makes one. It is the owner's own code; it runs in the daemon, and only where a setting names it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

from orchestrator.audit.journal import Journal
from orchestrator.contracts.errors import StartRefused
from orchestrator.governance.policies import hooks
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.kernel.clock import Clock
from orchestrator.sdk.policies import PolicyHook

GROUP = "orchestrator.policy_hooks"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a hook that ships is made with."""

    settings: GovernanceSettings
    clock: Clock
    journal: Journal


def found(parts: Parts) -> list[PolicyHook]:
    """The hooks that the settings name, in that order. Raises `StartRefused` for a name that is none."""
    shipped = {one.name for one in pkgutil.iter_modules(hooks.__path__)}
    brought = {point.name: point for point in entry_points(group=GROUP)}
    made: list[PolicyHook] = []
    for name in parts.settings.policy_hooks:
        if name in shipped:
            make: Callable[[Parts], PolicyHook] = importlib.import_module(f"{hooks.__name__}.{name}").make
            made.append(make(parts))
        elif name in brought:
            loaded = brought[name].load()
            made.append(loaded if isinstance(loaded, PolicyHook) else loaded())
        else:
            known = ", ".join(sorted(shipped | set(brought)))
            raise StartRefused(f"governance.policy_hooks: there is no hook {name!r}; there are {known}")
    return made
