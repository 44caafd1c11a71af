"""Tries cases on a sandbox, and says what differed from the verdict that must come."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from time import monotonic

from pydantic import ValidationError

from orchestrator.contracts.errors import Invalid, OrchestratorError
from orchestrator.contracts.executions import Execution, ExecutionRequest, LimitsRequest
from orchestrator.sandbox.abuse.cases import Backend, Case, Isolation
from orchestrator.sandbox.abuse.differences import differences, refusal_differences, tail
from orchestrator.sandbox.settings import SandboxSettings

Run = Callable[[ExecutionRequest], Awaitable[Execution]]
"""Runs one request on the sandbox that is tried. Raises as `Sandbox.admit` and `Sandbox.run` do."""

_CLEAN = {"python": "print(6 * 7)", "javascript": "console.log(6 * 7)", "shell": "echo $((6 * 7))"}
_CLASS = ("memory_bytes", "pids", "disk_bytes", "inodes")


@dataclass(frozen=True, slots=True)
class Trial:
    """One case, to be tried in a reused cell or in a container of its own."""

    case: Case
    isolation: Isolation

    def __str__(self) -> str:
        return f"{self.isolation}: {self.case}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of a trial: no differences where all is as it must be, else each as a sentence."""

    trial: Trial
    differences: list[str]
    ms: float


def backend(settings: SandboxSettings) -> Backend:
    """The backend of these settings, by the name that cases know it by."""
    if settings.engine == "bubblewrap":
        return "bubblewrap"
    return "docker-runsc" if settings.runtime == "runsc" else "docker-runc"


def trials(cases: Iterable[Case], where: Backend, *, thorough: bool = False, brief: bool = False) -> list[Trial]:
    """What is tried on a backend: every case in a cell, and one of each family in a container of its own.

    A container of its own costs a hundred times a cell's job. `thorough` is for those who have the time: all members
    there, too; `brief` for those who have not: every third family. Pairs need a cell, and what is refused neither.
    """
    apply = [case for case in cases if where not in case.not_on]
    alone = [case for case in apply if case.leaves is None and not case.refused]
    first = list({(case.theme, case.family): case for case in reversed(alone)}.values())[:: 3 if brief else 1]
    return [
        *(Trial(case, "cell") for case in apply),
        *(Trial(case, "container") for case in alone if thorough or case in first),
    ]


async def drill_all(todo: Iterable[Trial], run: Run, tell: Callable[[Finding], None], lanes: int = 1) -> None:
    """Make trials, `lanes` of them at a time, each lane with a subject, and so with cells, of its own."""
    waiting = deque(todo)

    async def lane(subject: str) -> None:
        while waiting:
            tell(await drill(waiting.popleft(), run, subject))

    async with asyncio.TaskGroup() as group:
        for number in range(lanes):
            group.create_task(lane(f"lane-{number}"))


async def drill(trial: Trial, run: Run, subject: str) -> Finding:
    """Make one trial: the case, then a harmless program, which has to run in the same cell, or in another container of
    the same class, as if nothing had been. Never raises for what the sandbox does.
    """
    began = monotonic()
    try:
        found = await _tried(trial, run, subject)
    except OrchestratorError as fault:
        found = [f"it was not run: {fault.detail}"]
    return Finding(trial, found, (monotonic() - began) * 1e3)


async def _tried(trial: Trial, run: Run, subject: str) -> list[str]:
    case = trial.case
    try:
        request = case.request(trial.isolation, subject)
        if case.leaves is not None:
            left = await run(case.request(trial.isolation, subject, first=True))
            if (left.status, left.stdout) != ("ok", "left\n"):
                return [f"the first job did not leave what it should: {left.status}, {tail(left)}"]
        execution = await run(request)
    except ValidationError as fault:
        return refusal_differences(case, [error["loc"] for error in fault.errors()], "invalid")
    except Invalid as refusal:
        return refusal_differences(case, [tuple(error["loc"]) for error in refusal.errors], refusal.code)
    found = differences(case, execution)
    clean = await run(_clean(request))
    if (clean.status, clean.stdout, clean.limits_hit) != ("ok", "42\n", []):
        found.append(f"a clean job after it: {clean.status}, {tail(clean)}")
    return found


def _clean(request: ExecutionRequest) -> ExecutionRequest:
    """A harmless program for the same class of worker, and in a cell for the same cell."""
    kept = {name: getattr(request.limits, name) for name in _CLASS}
    return ExecutionRequest(
        code=_CLEAN[request.language or "python"], language=request.language, profile=request.profile,
        isolation=request.isolation, subject=request.subject, limits=LimitsRequest(**kept),
    )  # fmt: skip
