"""Which functions of a plugin are its hooks, and whether their signatures fit (pluggy finds and checks them)."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pluggy

from orchestrator.host import hookspecs

AFTER = ("undo", "release")
"""Hooks that come after `handle`. Their names are common: an unmarked function counts if it takes a `request` alone."""
NAMES = ("init", "handle", "route", "close", *AFTER)


class BadHooks(Exception):
    """The plugin's hooks cannot be used; the text says what mends it."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One function of a plugin and the arguments that it wants."""

    function: Callable[..., Any]
    names: tuple[str, ...]
    is_async: bool

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        return self.function(*[arguments[name] for name in self.names])


class Registry(pluggy.PluginManager):
    """Holds one version of one plugin, so that versions and plugins cannot touch each other.

    Besides functions marked with `sdk.hookimpl`, those count that are named like a hook and come from the plugin's own
    modules, whose names start with `root`.
    """

    def __init__(self, root: str) -> None:
        super().__init__(hookspecs.PROJECT)
        self._root = root
        self.add_hookspecs(hookspecs)

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        marked = super().parse_hookimpl_opts(plugin, name)
        if marked is not None or name not in NAMES:
            return marked
        function = _function_of(plugin, name)
        if function is None or (name in AFTER and not _takes_request(function)):
            return None
        own = not isinstance(plugin, ModuleType) or _root_of(function) == self._root
        return {} if own else None


def hooks_of(target: Any, root: str) -> dict[str, Hook]:
    """The hooks of a module or object. Raises `BadHooks` for a wrong signature, a misspelt hook, or none at all."""
    registry = Registry(root)
    try:
        registry.register(target, name=root)
        registry.check_pending()
    except pluggy.PluginValidationError as fault:
        raise BadHooks(_advice(fault)) from None
    found: dict[str, Hook] = {}
    for name in NAMES:
        for impl in getattr(registry.hook, name).get_hookimpls():
            found[name] = _hook(name, impl)
    if not found.keys() & {"handle", "route", "init"}:
        raise BadHooks(_nothing(target))
    return found


def _hook(name: str, impl: pluggy.HookImpl) -> Hook:
    hook = Hook(impl.function, tuple(impl.argnames), inspect.iscoroutinefunction(impl.function))
    try:
        inspect.signature(impl.function).bind(*hook.names)
    except (TypeError, ValueError):
        spec = inspect.signature(getattr(hookspecs, name))
        raise BadHooks(f"`{name}` cannot be called as `{name}{_plain(spec)}`: {_plain(spec)} is what it gets") from None
    return hook


def _plain(signature: inspect.Signature) -> str:
    return f"({', '.join(signature.parameters)})"


def _advice(fault: pluggy.PluginValidationError) -> str:
    text = " ".join(str(fault).split())
    surface = ", ".join(f"`{n}{_plain(inspect.signature(getattr(hookspecs, n)))}`" for n in NAMES)
    return f"a hook does not fit ({text[-300:]}); the hooks are {surface}, with these names of parameters"


def _nothing(target: Any) -> str:
    named = [name for name in NAMES if hasattr(target, name)]
    if named:
        return f"`{named[0]}` is no function of this plugin; define it here, or mark it with orchestrator.sdk.hookimpl"
    return "it defines neither `handle(request)`, `route(request, candidates)` nor `init(manager)`"


def _function_of(plugin: Any, name: str) -> Any:
    static = inspect.getattr_static(plugin, name, None)
    if isinstance(static, staticmethod | classmethod):
        return static.__func__
    return static if inspect.isfunction(static) or inspect.ismethod(static) else None


def _takes_request(function: Any) -> bool:
    return {name for name in inspect.signature(function).parameters if name not in ("self", "cls")} == {"request"}


def _root_of(function: Any) -> str:
    return str(getattr(function, "__module__", "")).partition(".")[0]
