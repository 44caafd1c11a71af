"""`doctor --attack`: the abuse corpus, tried on a sandbox of its own on the configured engine."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.cli import output
from orchestrator.cli.output import CliFault
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.executions import Execution, ExecutionRequest, OutputName
from orchestrator.governance.permits import PermitOffice
from orchestrator.kernel import logs
from orchestrator.kernel.clock import SystemClock
from orchestrator.kernel.ids import new_id
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox.abuse import corpus
from orchestrator.sandbox.abuse.drill import Finding, Trial, backend, drill_all, trials
from orchestrator.sandbox.service import CAPABILITY, Sandbox
from orchestrator.sandbox.settings import SandboxSettings

LANES = 2
"""Trials at a time: they wait more than they compute, and the host may have other work."""
READY_S = 15.0
"""How long a busy engine may take for its first answer."""
_PERSON = Caller("doctor", "person", frozenset(), source="python")

Tell = Callable[[Finding], None]


def attack(settings: SandboxSettings, images: Path, themes: list[str], *, thorough: bool, as_json: bool) -> None:
    """Try the corpus, or some themes of it. Raises `CliFault`: 1 where a verdict differed, 3 where nothing can run."""
    logs.configure("error")
    chosen = _chosen(settings, themes, thorough=thorough)
    found: list[Finding] = []
    with _progress(len(chosen), found, quiet=as_json) as tell:
        missing = asyncio.run(_try_all(settings, images, chosen, tell))
    failed = [finding for finding in found if finding.differences]
    rows = list(_by_theme(found))
    if as_json:
        output.show({"themes": rows, "failed": [_told(finding) for finding in failed], "left_out": missing}, True)
    else:
        output.table(rows, ["theme", "trials", "failed", "seconds"], as_json)
    if missing:
        output.note(f"left out, for want of an image (orchestrator images build): {', '.join(missing)}")
    if failed:
        raise CliFault(f"{len(failed)} of {len(found)} trials did not come out as they must")


def _chosen(settings: SandboxSettings, themes: list[str], *, thorough: bool) -> list[Trial]:
    cases = corpus.load()
    known = sorted({case.theme for case in cases})
    if unknown := sorted(set(themes) - set(known)):
        raise CliFault(f"no theme is named {', '.join(unknown)}; there are {', '.join(known)}", 2)
    return trials([case for case in cases if case.theme in (themes or known)], backend(settings), thorough=thorough)


async def _try_all(settings: SandboxSettings, images: Path, chosen: list[Trial], tell: Tell) -> list[str]:
    """Make the trials; the languages that were left out, since no image of theirs is there."""
    async with _opened(settings, images) as (sandbox, office):

        async def run(request: ExecutionRequest) -> Execution:
            admitted, execution_id = sandbox.admit(request), new_id()
            permit = office.issue(CAPABILITY, execution_id, _PERSON, "approval", "attack", _PERSON.owner)
            return await sandbox.run(
                execution_id, admitted, owner=_PERSON.owner, key_id=None, permit=permit, progress=_Silent()
            )

        there = {profile.language for profile in sandbox.profiles() if profile.available}
        await drill_all([trial for trial in chosen if trial.case.language in there], run, tell, LANES)
        return sorted({trial.case.language for trial in chosen} - there)


@asynccontextmanager
async def _opened(settings: SandboxSettings, images: Path) -> AsyncIterator[tuple[Sandbox, PermitOffice]]:
    """A sandbox beside the daemon's, which knows nothing of it; what it made is gone afterwards."""
    supervisor, clock = Supervisor(), SystemClock()
    office = PermitOffice(clock, 3_600)
    sandbox = Sandbox(
        settings, images_dir=images, daemon_id=new_id(), check=office.check, clock=clock, metrics=Metrics(),
        supervisor=supervisor,
    )  # fmt: skip
    await sandbox.start()
    try:
        await _ready(sandbox)
        yield sandbox, office
    finally:
        await sandbox.close()
        await supervisor.close()


async def _ready(sandbox: Sandbox) -> None:
    """Wait until code can be run. Raises `CliFault` 3 with what is missing."""
    for _ in range(int(READY_S * 10)):
        state, why = sandbox.health()
        if state == "ok":
            return
        await asyncio.sleep(0.1)
    raise CliFault(why, 3)


class _Silent:
    """Nobody watches how a trial comes along."""

    def status(self, status: str) -> None: ...

    def output(self, name: OutputName, data: bytes) -> None: ...


@contextmanager
def _progress(count: int, found: list[Finding], *, quiet: bool) -> Iterator[Tell]:
    """Collects findings; on a terminal with a bar, and a line for each trial that failed, all on stderr."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not sys.stderr.isatty()) as bar:
        task = bar.add_task("trials", total=count)

        def tell(finding: Finding) -> None:
            found.append(finding)
            bar.update(task, advance=1, description=finding.trial.case.theme)
            if finding.differences and not quiet:
                output.note(f"{finding.trial}: {'; '.join(finding.differences)}")

        yield tell


def _by_theme(found: list[Finding]) -> Iterator[dict[str, Any]]:
    for theme in sorted({finding.trial.case.theme for finding in found}):
        of_it = [finding for finding in found if finding.trial.case.theme == theme]
        failed = sum(bool(finding.differences) for finding in of_it)
        seconds = round(sum(finding.ms for finding in of_it) / 1e3, 1)
        yield {"theme": theme, "trials": len(of_it), "failed": failed, "seconds": seconds}


def _told(finding: Finding) -> dict[str, Any]:
    trial = finding.trial
    return {
        "theme": trial.case.theme,
        "case": trial.case.name,
        "isolation": trial.isolation,
        "differences": finding.differences,
    }
