"""What the daemon and a child process say to each other: JSON objects, each with its length before it.

A child may be killed at any byte, and what it says is believed as little as any other plugin's word.
"""

import asyncio
import json
import struct
from typing import Any

from orchestrator.contracts import errors
from orchestrator.contracts.errors import OrchestratorError, PluginFailed

_LENGTH = struct.Struct(">I")
_TELLABLE: dict[str, type[OrchestratorError]] = {
    kind.__name__: kind
    for kind in (
        errors.Unauthenticated, errors.Forbidden, errors.NotFound, errors.Conflict, errors.Invalid, errors.TooMany,
        errors.Unavailable, errors.PluginFailed, errors.PluginTimeout,
    )
}  # fmt: skip


class BadFrame(Exception):
    """The other side said something that is no frame, or one too large."""


async def read_frame(reader: asyncio.StreamReader, max_bytes: int) -> dict[str, Any] | None:
    """The next frame, or None at the end. Raises `BadFrame`."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > max_bytes:
            raise BadFrame(f"a frame of {length} bytes, where {max_bytes} are the most")
        frame = json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except (ValueError, RecursionError) as fault:
        raise BadFrame(f"a frame that is not JSON: {fault}") from None
    if not isinstance(frame, dict):
        raise BadFrame("a frame that is no object")
    return frame


def write_frame(writer: asyncio.StreamWriter, frame: dict[str, Any]) -> None:
    """Send one frame; `TypeError` or `ValueError` for what is not JSON, and then nothing is sent."""
    body = json.dumps(frame, separators=(",", ":"), allow_nan=False).encode()
    writer.write(_LENGTH.pack(len(body)) + body)


def fault_to_json(fault: OrchestratorError) -> dict[str, Any]:
    """A fault as a member of a frame."""
    return {
        "kind": type(fault).__name__, "detail": fault.detail, "code": fault.code, "errors": fault.errors,
        "extra": fault.extra, "headers": fault.headers, "traceback": getattr(fault, "traceback", None),
    }  # fmt: skip


def fault_from_json(told: Any) -> OrchestratorError:
    """The fault that the other side told. One that no plugin could cause becomes a plain failure of the plugin."""
    if not isinstance(told, dict):
        return PluginFailed("its process told a fault that is none")
    kind = _TELLABLE.get(str(told.get("kind")), PluginFailed)
    members = {k: told[k] for k, t in (("code", str), ("errors", list), ("extra", dict)) if isinstance(told.get(k), t)}
    if kind is PluginFailed:
        return PluginFailed(str(told.get("detail"))[:2000], traceback=str(told.get("traceback") or "")[:20_000] or None)
    fault = kind(str(told.get("detail"))[:2000], **members)
    headers = told.get("headers")
    if isinstance(headers, dict) and str(headers.get("Retry-After", "")).isdecimal():
        fault.headers["Retry-After"] = str(headers["Retry-After"])
    return fault
