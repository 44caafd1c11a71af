"""What a plugin raised, told twice: to the client without its text, to logs and admins with its own frames."""

from collections.abc import Callable
from traceback import walk_tb
from typing import Any

from orchestrator.contracts.errors import Invalid, OrchestratorError, PluginFailed
from orchestrator.host.answers import NotJson, encode
from orchestrator.host.importing import root_of
from orchestrator.sdk.refusal import Refused

_MOST_ERRORS = 50
_MOST_FRAMES = 20
_RESERVED = frozenset({"type", "title", "status", "detail", "code", "request_id", "errors", "id", "instance"})
SourceLine = Callable[[str, int], str]


def told(plugin: str, fault: BaseException, line_of: SourceLine) -> OrchestratorError:
    """The fault that leaves the host for what a plugin's code raised.

    A `Refused` is the plugin's own no; the daemon's faults that it let through stay what they are.
    """
    if isinstance(fault, Refused):
        return _refusal(plugin, fault)
    if isinstance(fault, OrchestratorError):
        return fault
    kind = type(fault).__name__
    shown = kind if kind.isidentifier() and len(kind) <= 80 else "an exception"
    verb = "left by" if isinstance(fault, SystemExit | GeneratorExit) else "raised"
    return PluginFailed(f"the plugin {plugin} {verb} {shown}", traceback=own_traceback(fault, line_of))


def described(fault: BaseException) -> str:
    """`ValueError: its text`, on one line, bounded, whatever `__str__` does."""
    try:
        text = str(fault)
    except BaseException:  # noqa: BLE001 - a hostile __str__ must not hide the fault
        text = "(its text cannot be had)"
    return _one_line(f"{type(fault).__name__[:80]}: {text[:2000]}" if text else type(fault).__name__[:80])


def own_traceback(fault: BaseException, line_of: SourceLine) -> str:
    """The frames that are a plugin's own, with its text as it was imported; the host's are cut off."""
    frames = [(frame, line) for frame, line in walk_tb(fault.__traceback__) if root_of(frame) is not None]
    lines = ["Traceback (the plugin's own frames, most recent call last):"]
    if len(frames) > _MOST_FRAMES:
        lines.append(f"  … {len(frames) - _MOST_FRAMES} frames left out")
    for frame, line in frames[-_MOST_FRAMES:]:
        name = frame.f_code.co_filename.rpartition("/")[2]
        lines.append(f'  File "{name}", line {line}, in {frame.f_code.co_name}')
        if text := line_of(str(frame.f_globals.get("__name__")), line):
            lines.append(f"    {text[:200]}")
    return "\n".join([*lines, described(fault)])


def import_advice(fault: BaseException, plugin: str) -> str:
    """Why a version was not imported, and what mends it."""
    if isinstance(fault, SyntaxError):
        return f"line {fault.lineno}: {_one_line(fault.msg or 'invalid syntax')}"
    if not isinstance(fault, ModuleNotFoundError) or not fault.name:
        return f"importing it raised {described(fault)}"
    top = fault.name.partition(".")[0]
    if top.startswith("orchestrator_plugin_"):
        return f"{fault.msg}; a package imports its own modules by `from . import NAME`"
    if top == plugin:
        return f"it imports itself by the name {top!r}; a package imports its own modules by `from . import NAME`"
    return (
        f"the module {fault.name!r} is missing; to mend it: `.venv/bin/python -m pip install {top}` in the daemon's"
        f" checkout (the distribution may have another name), then POST /plugins/{plugin}/reload"
    )


def _refusal(plugin: str, fault: Refused) -> OrchestratorError:
    named = isinstance(fault.code, str) and fault.code.isidentifier() and len(fault.code) <= 64
    try:
        members: dict[str, Any] = encode(dict(fault.members), 2**16).value
        detail = encode(str(fault.detail)[:2000], 2**16).value
    except NotJson as wrong:
        return PluginFailed(f"the plugin {plugin} refused with a member that {wrong}")
    extra = {name: member for name, member in members.items() if name not in _RESERVED}
    errors = [{"loc": e["loc"], "msg": e["msg"]} for e in _listed(members.get("errors")) if _is_error(e)]
    return Invalid(detail, code=fault.code if named else "invalid", extra=extra, errors=errors)


def _listed(value: Any) -> list[Any]:
    return value[:_MOST_ERRORS] if isinstance(value, list) else []


def _is_error(value: Any) -> bool:
    """Whether it is a fault of a body as problem documents list them (CONTRACT 1)."""
    return isinstance(value, dict) and isinstance(value.get("loc"), list) and isinstance(value.get("msg"), str)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:500]
