"""The optional mark for a plugin's functions."""

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def hookimpl(function: Function) -> Function:
    """Mark a function as a hook implementation, whatever module it comes from.

    Unmarked functions named `init`, `handle` or `route` count where the plugin itself defines them.
    """
    function.orchestrator_impl = {}  # type: ignore[attr-defined]
    return function
