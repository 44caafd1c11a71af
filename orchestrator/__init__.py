"""A daemon that hosts plugins, routes queries to them, and runs generated code in containers without a network.

The names of the public Python interface resolve on first use, so that importing one room does not import them all.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_FACADES = {
    "ApprovalRequired": "orchestrator.workflows.executor",
    "Brain": "orchestrator.brain",
    "CapabilityRegistry": "orchestrator.workflows.registry",
    "DockerManager": "orchestrator.docker_manager",
    "Executor": "orchestrator.workflows.executor",
    "PlanReplay": "orchestrator.workflows.replay",
    "Planner": "orchestrator.workflows.planner",
    "PolicyHook": "orchestrator.sdk.policies",
}


def __getattr__(name: str) -> Any:
    if name not in _FACADES:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    return getattr(import_module(_FACADES[name]), name)
