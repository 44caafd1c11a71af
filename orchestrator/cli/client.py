"""Talking to the daemon: its address and key from the environment, else from the state directory."""

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Any

import aiohttp

from orchestrator.cli.output import CliFault
from orchestrator.config.places import Places, places


@dataclass(frozen=True, slots=True)
class Target:
    """Which daemon, as whom."""

    url: str
    key: str | None


def target(where: Places | None = None) -> Target:
    """`ORCHESTRATOR_URL` and `ORCHESTRATOR_KEY`, else what the daemon of the state directory announced."""
    found = where or places(None, [])
    url = os.environ.get("ORCHESTRATOR_URL") or _announced(found)
    key = os.environ.get("ORCHESTRATOR_KEY")
    if key is None and "ORCHESTRATOR_URL" not in os.environ and found.admin_key.exists():
        key = found.admin_key.read_text().strip()
    return Target(url.rstrip("/"), key)


def call(method: str, path: str, body: Any = None, at: Target | None = None) -> Any:
    """One request; its JSON answer. Raises `CliFault`: 1 refused, 3 nobody answers, 4 a person must approve."""
    return asyncio.run(request(at or target(), method, path, body))


async def request(at: Target, method: str, path: str, body: Any = None) -> Any:
    """See `call`."""
    headers = {"X-API-Key": at.key} if at.key else {}
    try:
        async with (
            aiohttp.ClientSession(at.url, headers=headers) as session,
            session.request(method, path, json=body) as response,
        ):
            answer = await response.json(content_type=None)
            status = response.status
    except (aiohttp.ClientError, OSError, ValueError) as fault:
        raise CliFault(
            f"no daemon answers at {at.url} ({type(fault).__name__}); start one with `make run`", 3
        ) from None
    if status == 202:
        raise CliFault(f"needs approval: {json.dumps(answer)}", 4)
    if status >= 400:
        raise _refused(status, answer)
    return answer


def _refused(status: int, problem: Any) -> CliFault:
    detail = problem.get("detail", "") if isinstance(problem, dict) else str(problem)
    code = problem.get("code", status) if isinstance(problem, dict) else status
    more = "".join(f"\n  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problem.get("errors", [])[1:])
    return CliFault(
        f"{detail} ({code}){more}", 3 if code in ("sandbox_unavailable", "store_unavailable", "draining") else 1
    )


def _announced(found: Places) -> str:
    if not found.address.exists():
        return "http://127.0.0.1:8000"
    address: str = json.loads(found.address.read_text())["address"]
    return address
