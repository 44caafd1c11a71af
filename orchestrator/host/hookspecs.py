"""The whole surface of a plugin: six functions, all optional but that there be one of `handle`, `route` and `init`.

A plugin defines them at its module's top level, or as methods of a class named `Plugin`; sync or async; it may leave
out parameters that it does not need. Signatures are checked when the plugin is loaded. Calling a hook here would call
every plugin, so the host never does: it looks up the one plugin's function and calls that.
"""

from collections.abc import Sequence
from typing import Any

import pluggy

PROJECT = "orchestrator"
hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec
def init(manager: Any) -> None:
    """Once for each version, before its first request. `manager`: the daemon as the plugin sees it (`sdk.Manager`)."""


@hookspec
def handle(request: Any) -> Any:
    """Answer one query: `request` (`sdk.Request`) has `text`, `intent`, `params`, `id`, `source`; any JSON value."""


@hookspec
def route(request: Any, candidates: Sequence[Any]) -> Any:
    """Say where a query that names neither plugin nor intent goes: `{"plugin", "score"}`, or None for no opinion.

    `candidates` is `[{"plugin", "score"}]`, what keywords found.
    """


@hookspec
def undo(request: Any) -> None:
    """Take back what `handle` did; effects `compensated` need it.

    `request` is the one that `handle` got, its `id` too, with `output`: what `handle` answered, None where it came to
    no answer. It may be called again, and for work that was never begun or half done; an exception means: not yet.
    """


@hookspec
def release(request: Any) -> None:
    """Do for good what `handle` only prepared, now that a person has accepted its output; effects `deferred` need it.

    `request` as for `undo`. It is called once; what was prepared and is not accepted is never released.
    """


@hookspec
def close() -> None:
    """Once for each version, after its last request, when it is replaced, disabled or the daemon ends."""
