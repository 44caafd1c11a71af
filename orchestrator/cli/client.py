"""Talking to the daemon: its address and key from the environment, else from the state directory."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from orchestrator.cli.output import CliFault
from orchestrator.config.places import Places, places

_LONGEST_S = 600.0
_NOT_THERE = ("sandbox_unavailable", "store_unavailable", "draining", "halted")
_WRONG_USE = ("invalid", "malformed", "limit_above_profile")


@dataclass(frozen=True, slots=True)
class Target:
    """Which daemon, as whom."""

    url: str
    key: str | None


class NobodyAnswers(CliFault):
    """There is no daemon at that address."""

    def __init__(self, at: Target, fault: Exception) -> None:
        told = f"no daemon answers at {at.url} ({type(fault).__name__}); start one with `make run`"
        super().__init__(told, 3, {"code": "no_daemon"})


def target(where: Places | None = None) -> Target:
    """`ORCHESTRATOR_URL` and `ORCHESTRATOR_KEY`, else what the daemon of the state directory announced."""
    found = where or places(None, [])
    url = os.environ.get("ORCHESTRATOR_URL") or _announced(found)
    key = os.environ.get("ORCHESTRATOR_KEY")
    if key is None and "ORCHESTRATOR_URL" not in os.environ and found.admin_key.exists():
        key = found.admin_key.read_text().strip()
    return Target(url.rstrip("/"), key)


def call(method: str, path: str, body: Any = None, at: Target | None = None) -> Any:
    """One request; its JSON answer.

    Raises `CliFault`: 1 refused, 2 what was asked is not valid, 3 nobody answers, 4 a person must approve.
    """
    status, answer = exchange(at or target(), method, path, body)
    if status == 202 or status >= 400:
        raise refused(status, answer)
    return answer


def text(path: str) -> str:
    """What a GET answers, as text. Raises `CliFault` as `call` does."""
    with asking(target(), "GET", path) as response:
        answer = response.read().decode()
    if response.status != 200:
        raise refused(response.status, answer)
    return answer


def exchange(
    at: Target, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """One request; status and JSON answer, whatever they say. Raises `NobodyAnswers`."""
    with asking(at, method, path, body, headers) as response:
        return response.status, json.loads(response.read())


@contextmanager
def asking(
    at: Target, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> Iterator[HTTPResponse]:
    """One request; its answer is read within the block, after which nobody listens. Raises `NobodyAnswers`.

    A body is a JSON value, or bytes that are JSON already.
    """
    connection = _connection(at.url)
    sent = {**({"X-API-Key": at.key} if at.key else {}), **(headers or {})}
    if body is not None:
        sent["Content-Type"] = "application/json"
    try:
        connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), sent)
        yield connection.getresponse()
    except (HTTPException, OSError, ValueError) as fault:
        raise NobodyAnswers(at, fault) from None
    finally:
        connection.close()


def _connection(url: str) -> HTTPConnection:
    made: dict[str, type[HTTPConnection]] = {"http": HTTPConnection, "https": HTTPSConnection}
    try:
        parts = urlsplit(url)
        name, port, kind = parts.hostname or "", parts.port, made[parts.scheme]
    except (ValueError, KeyError):
        name, port, kind = "", None, HTTPConnection
    if not name:
        raise CliFault(f"ORCHESTRATOR_URL is no address such as http://127.0.0.1:8000: {url}", 2, {"code": "usage"})
    return kind(name, port, timeout=_LONGEST_S)


def refused(status: int, answer: Any) -> CliFault:
    """An answer that is none: a problem, or that a person must approve."""
    if status == 202:
        return CliFault(f"needs approval: {json.dumps(answer)}", 4, {"code": "awaiting_approval", "detail": answer})
    problem: dict[str, Any] = answer if isinstance(answer, dict) else {"detail": str(answer)}
    code = problem.get("code", status)
    more = "".join(f"\n  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.get("errors", [])[1:])
    exit_code = 3 if code in _NOT_THERE else 2 if code in _WRONG_USE else 1
    return CliFault(f"{problem.get('detail', '')} ({code}){more}", exit_code, problem)


def _announced(found: Places) -> str:
    if not found.address.exists():
        return "http://127.0.0.1:8000"
    address: str = json.loads(found.address.read_text())["address"]
    return address
