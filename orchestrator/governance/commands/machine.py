"""The status machine of a command: which act is allowed when, and where it leads. Pure (R4-07, CONTRACT 5)."""

from typing import Literal, get_args

from orchestrator.contracts.errors import Conflict

Status = Literal["created", "planned", "awaiting_approval", "approved", "executing", "completed", "failed", "cancelled"]
Act = Literal[
    "plan",
    "approve",
    "reject",
    "void",
    "expire",
    "execute",
    "pause",
    "cancel",
    "complete",
    "fail",
    "retry",
    "discard",
    "regenerate",
]

STATUSES: tuple[Status, ...] = get_args(Status)
TERMINAL: frozenset[Status] = frozenset({"completed", "failed", "cancelled"})

EDGES: dict[Act, dict[Status, frozenset[Status]]] = {
    "plan": {
        status: frozenset({"planned", "awaiting_approval"}) for status in ("created", "planned", "awaiting_approval")
    },
    "approve": {"awaiting_approval": frozenset({"approved", "executing"})},
    "reject": {status: frozenset({"cancelled"}) for status in ("planned", "awaiting_approval")},
    "void": {"approved": frozenset({"awaiting_approval"})},
    "expire": {status: frozenset({"cancelled"}) for status in ("awaiting_approval", "approved")},
    "execute": {status: frozenset({"executing"}) for status in ("planned", "approved")},
    "pause": {"executing": frozenset({"awaiting_approval"})},
    "cancel": {
        status: frozenset({"cancelled"})
        for status in ("created", "planned", "awaiting_approval", "approved", "executing")
    },
    "complete": {"executing": frozenset({"completed"})},
    "fail": {"executing": frozenset({"failed"})},
    "retry": {"failed": frozenset({"awaiting_approval", "planned"})},
    "discard": {"failed": frozenset({"failed"})},
    "regenerate": {
        status: frozenset({"awaiting_approval", "planned"}) for status in ("awaiting_approval", "completed", "failed")
    },
}
"""By act and status, the statuses that it may lead to.

In step mode an approval resumes what had paused (X-29). A command that has ended is terminal for everything but a
person's decision: of a failed one what becomes of it (X-31), of one with outputs that one be made again (R4-16).
"""


def require(act: Act, status: Status, resolution: str | None = None) -> None:
    """Raise `Conflict` (`illegal_transition`), naming the state and what it allows, where an act is not legal.

    Of what a person has given up (`resolution`), nothing is: a decision is made once.
    """
    if resolution is not None:
        raise Conflict(f"{act} is not possible: the command was {resolution}", extra={"state": status})
    if status in EDGES[act]:
        return
    legal = ", ".join(name for name, edges in EDGES.items() if status in edges and name in _ASKED)
    possible = f"possible is {legal}" if legal else "nothing more is possible"
    raise Conflict(f"{act} is not possible: the command is {status}; {possible}", extra={"state": status})


_ASKED = ("plan", "approve", "reject", "execute", "cancel")
"""Acts that clients ask for on a command that has not ended."""


def lead(act: Act, status: Status, to: Status, resolution: str | None = None) -> Status:
    """The next status. Raises `Conflict` where the act is not legal, `ValueError` where it leads somewhere else."""
    require(act, status, resolution)
    if to not in EDGES[act][status]:
        raise ValueError(f"{act} does not lead from {status} to {to}")
    return to
