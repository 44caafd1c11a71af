"""Look at everything that the daemon needs, and say what to mend."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli import attack as attacking
from orchestrator.cli import client, configuration
from orchestrator.cli import invariants as checking
from orchestrator.cli.options import AsJson, ConfigFile, StateDir
from orchestrator.cli.output import CliFault, table
from orchestrator.config.places import Places, places
from orchestrator.contracts.errors import StartRefused, Unavailable
from orchestrator.daemon import lock
from orchestrator.sandbox import images
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.storage.opening import look
from orchestrator.storage.settings import StorageSettings

OK, MEND, NOT_RUNNING = "ok", "mend", "not running"
Finding = tuple[str, str | bool, str]
"""What was looked at, its state (True is ok, False is to be mended), and the detail."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    state: StateDir = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    attack: Annotated[
        bool, typer.Option("--attack", help="Try the sandbox with a thousand hostile programs instead.")
    ] = False,
    theme: Annotated[list[str] | None, typer.Option(help="Only this theme of attacks; may be repeated.")] = None,
    invariants: Annotated[
        bool, typer.Option("--invariants", help="Check what must hold of the store at every moment instead.")
    ] = False,
    thorough: Annotated[bool, typer.Option("--thorough", help="Each attack in a container of its own, too.")] = False,
) -> None:
    """Look at everything that the daemon needs, and say what to mend; exit 1 if something is to be mended.

    Example: orchestrator doctor --attack --theme memory
    """
    settings = configuration.read_or_fail(config, {}).settings
    where = places(state, [])
    if attack:
        attacking.attack(settings.sandbox, where.images, theme or [], thorough=thorough, as_json=as_json)
        return
    if invariants:
        checking.check(where, settings.storage, as_json=as_json)
        return
    store = ("store", *_store(settings.storage))
    findings: list[Finding] = [("configuration", OK, "good"), *_look(where, settings.sandbox), store]
    rows = [{"what": what, "state": _named(state), "detail": detail} for what, state, detail in findings]
    table(rows, ["what", "state", "detail"], as_json)
    bad = sum(row["state"] == MEND for row in rows)
    if bad:
        raise CliFault(f"{bad} to mend" if bad > 1 else "one thing to mend")


def _named(state: str | bool) -> str:
    return state if isinstance(state, str) else OK if state else MEND


def _look(where: Places, sandbox: SandboxSettings) -> Iterator[Finding]:
    yield "python", sys.version_info >= (3, 11), sys.version.split()[0]
    yield "state directory", *_state(where.state)
    yield "plugin folders", *_folders(where)
    yield "engine", *_engine(sandbox)
    yield from _daemon(where)


def _daemon(where: Places) -> Iterator[Finding]:
    """The daemon of the state directory, by its own word; one that holds it and is silent is to be mended."""
    at = client.target(where)
    try:
        _, ready = client.exchange(at, "GET", "/readyz")
        yield "daemon", *_readiness(ready)
        if at.key:
            status, verdict = client.exchange(at, "POST", "/v1/audit/verify")
            yield "audit", *(_chain(verdict) if status == 200 else (False, _detail(verdict)))
    except client.NobodyAnswers as fault:
        holder = lock.holder(where.lock)
        silent = f"process {holder} holds {where.state} and does not answer at {at.url}"
        yield ("daemon", MEND, silent) if holder else ("daemon", NOT_RUNNING, str(fault))


def _state(state: Path) -> tuple[bool, str]:
    if not state.exists():
        return True, f"{state} is made at the first start"
    if state.stat().st_mode & 0o077:
        return False, f"others can look into {state}: chmod 700 {state}"
    free = shutil.disk_usage(state).free
    return free > 2**28 and os.access(state, os.W_OK), f"{state}, {free // 2**20} MiB free"


def _folders(where: Places) -> tuple[bool, str]:
    gone = [str(folder) for folder in where.plugin_folders if not folder.is_dir()]
    return not gone, f"not there: {', '.join(gone)}" if gone else f"{len(where.plugin_folders)} found"


def _store(storage: StorageSettings) -> tuple[bool, str]:
    try:
        return True, asyncio.run(look(storage))
    except StartRefused as fault:
        return False, fault.detail


def _engine(sandbox: SandboxSettings) -> tuple[bool, str]:
    try:
        engine, found = images.engine(sandbox), images.list_images(sandbox)
    except Unavailable as fault:
        return False, fault.detail
    if not found:
        return False, f"{engine} has no sandbox image: orchestrator images build"
    return True, f"{engine} answers, images for {', '.join(sorted({image.profile for image in found}))}"


def _readiness(answer: Any) -> tuple[bool, str]:
    """What `/readyz` says, or refuses to say, of every part that is not well."""
    if "checks" not in answer:
        return False, _detail(answer)
    faults = [f"{name}: {check['detail']}" for name, check in answer["checks"].items() if check["status"] != "ok"]
    return answer["status"] == "ok", "; ".join(faults) or {"ok": "serves"}.get(answer["status"], answer["status"])


def _detail(problem: Any) -> str:
    return f"{problem.get('detail', problem)} ({problem.get('code', 'refused')})"


def _chain(answer: Any) -> tuple[bool, str]:
    broken = f"the chain breaks at row {answer['first_bad']}" if answer["first_bad"] else "anchors of it were forged"
    holds = "the chain holds" if answer["ok"] else broken
    return answer["ok"], f"{answer['entries']} rows, {holds}"
