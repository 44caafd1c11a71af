"""The call being answered: who asked, by which permit, until when. It travels by context, into threads too."""

from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from orchestrator.contracts.callers import Caller
from orchestrator.contracts.permits import Permit

HANDLE = "plugin.handle"
"""Where on the bus the host is asked."""


@dataclass(frozen=True, slots=True)
class Call:
    """One query on its way through a plugin. `deadline`: seconds of the monotonic clock; the plugin's own holds too."""

    query_id: str
    caller: Caller
    permit: Permit
    deadline: float = inf


@dataclass(frozen=True, slots=True)
class Reply:
    """What `handle` returned, checked to be JSON, and the same as UTF-8 bytes so that nobody encodes it twice."""

    value: Any
    encoded: bytes


@dataclass(frozen=True, slots=True)
class HandleMessage:
    """What is asked of the host on the bus: `request` is the object that the hook gets."""

    plugin: str
    request: dict[str, Any]
    call: Call
    hook: Literal["handle", "undo", "release"] = "handle"


current_call: ContextVar[Any] = ContextVar("orchestrator_call", default=None)
"""The `Call` that the running plugin code answers (in a child process its token), or None outside of any."""


class NoCall(RuntimeError):
    """A plugin used a door that needs a permit while it was answering nobody."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs the permit of a query being answered, and there is none here:"
            " call it from `handle`, not from `init`, `route`, a listener or a thread of your own"
        )
