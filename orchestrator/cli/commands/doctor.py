"""`orchestrator doctor`."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli import client, configuration
from orchestrator.cli.options import AsJson, ConfigFile, StateDir
from orchestrator.cli.output import CliFault, table
from orchestrator.config.places import Places, places
from orchestrator.contracts.errors import Unavailable
from orchestrator.sandbox import images
from orchestrator.sandbox.settings import SandboxSettings

Finding = tuple[str, bool, str]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(state: StateDir = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Look at everything that the daemon needs, and say what to mend; exit 1 if something is to be mended."""
    settings = configuration.read_or_fail(config, {}).settings
    where = places(state, [])
    findings = [("configuration", True, "good"), *_look(where, settings.sandbox)]
    rows = [{"what": what, "state": "ok" if good else "mend", "detail": detail} for what, good, detail in findings]
    table(rows, ["what", "state", "detail"], as_json)
    bad = sum(not good for _, good, _ in findings)
    if bad:
        raise CliFault(f"{bad} to mend" if bad > 1 else "one thing to mend")


def _look(where: Places, sandbox: SandboxSettings) -> Iterator[Finding]:
    yield "python", sys.version_info >= (3, 11), sys.version.split()[0]
    yield "state directory", *_state(where.state)
    yield "plugin folders", *_folders(where)
    yield "engine", *_engine(sandbox)
    yield "daemon", *_told(lambda: client.call("GET", "/readyz", at=client.target(where)), _readiness)
    if where.admin_key.exists():
        verify = _told(lambda: client.call("POST", "/v1/audit/verify", at=client.target(where)), _chain)
        yield "audit", *verify


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


def _engine(sandbox: SandboxSettings) -> tuple[bool, str]:
    try:
        found = images.list_images(sandbox)
    except Unavailable as fault:
        return False, fault.detail
    if not found:
        return False, "no sandbox image: orchestrator images build"
    return True, f"answers, images for {', '.join(sorted({image.profile for image in found}))}"


def _told(ask: Callable[[], Any], judge: Callable[[Any], tuple[bool, str]]) -> tuple[bool, str]:
    try:
        return judge(ask())
    except CliFault as fault:
        return fault.code == 3, f"{fault}"


def _readiness(answer: Any) -> tuple[bool, str]:
    faults = [f"{name}: {check['detail']}" for name, check in answer["checks"].items() if check["status"] != "ok"]
    return not faults, "; ".join(faults) or "serves"


def _chain(answer: Any) -> tuple[bool, str]:
    holds = "the chain holds" if answer["ok"] else f"the chain breaks at row {answer['first_bad']}"
    return answer["ok"], f"{answer['entries']} rows, {holds}"
