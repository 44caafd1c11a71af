"""Does each limit bite here? Tried with real jobs whenever the engine, the runtime, the images or the kernel are new.

An engine can accept a limit and not enforce it (no delegated cgroup, a kernel without a controller). Better no sandbox
than one that says more than it holds: what does not bite is named, and nothing is run.
"""

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import structlog

from orchestrator.contracts.errors import Unavailable
from orchestrator.contracts.executions import Kernel, Limits, OutputName
from orchestrator.sandbox.backends.port import Backend, Facts
from orchestrator.sandbox.frames import Role
from orchestrator.sandbox.jobs import ENVIRONMENT, Job, RawOutcome, WorkerClass
from orchestrator.sandbox.profiles import Profile
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.sandbox.verdict import judge

log = structlog.get_logger("sandbox")
_MIB = 2**20
_TIGHT = Limits(
    wall_ms=10_000, cpu_ms=10_000, memory_bytes=96 * _MIB, pids=12, disk_bytes=_MIB, inodes=40, open_files=24,
    stdout_bytes=1_000, stderr_bytes=100_000,
)  # fmt: skip
_TRIALS: dict[str, tuple[str, dict[str, int], str]] = {
    "memory_bytes": ("kept = [b'x' * 2**20 for _ in range(96)]", {"memory_bytes": 32 * _MIB}, "oom"),
    "cpu_ms": ("while True: pass", {"cpu_ms": 40}, "timeout"),
    "wall_ms": ("import time; time.sleep(60)", {"wall_ms": 60}, "timeout"),
}
_WALLS = files("orchestrator.sandbox.trials").joinpath("walls.py").read_text()
NETWORK = "the absence of a network"


@dataclass(frozen=True, slots=True)
class Posture:
    """What was seen of the walls and limits that a job has here, beside what they must be; the audit keeps it.

    `walls` says of each by name: `holds`, `fails`, or `excused`, where the backend declares that it lacks it. `tried`
    is false where an earlier trial on just this engine, image and kernel is remembered.
    """

    engine: str
    runtime: str
    kernel: str
    image: str
    limits_unenforced: tuple[str, ...]
    walls: dict[str, str]
    seen: dict[str, Any]
    tried: bool

    @property
    def failed(self) -> list[str]:
        """What does not hold, by name."""
        return [name for name, state in self.walls.items() if state == "fails"]


class _Nobody:
    """Watches no trial."""

    def started(self) -> None:
        return

    def output(self, name: OutputName, data: bytes) -> None:
        return


class Preflight:
    """Tries a backend's walls and limits, and remembers in `memory` for which key they held."""

    def __init__(self, backend: Backend, settings: SandboxSettings, memory: Path | None) -> None:
        self._backend = backend
        self._settings = settings
        self._memory = memory

    async def check(self, facts: Facts, profile: str) -> Posture:
        """Read the posture back, by memory or by trial. Nothing may be run on one that has `failed`.

        Raises `Unavailable` where a limit is lacking by the backend's own word and was not accepted, or where the
        trial itself did not end well.
        """
        require_accepted(facts, self._settings.accept_unenforced)
        image = facts.images[profile].rpartition("@")[2]
        key = f"{facts.key} {image}"
        if (known := self._remembered(key)) is not None:
            return _posture(facts, image, *known, tried=False)
        seen, holds = await self._try_all(image, profile)
        posture = _posture(facts, image, seen, holds, tried=True)
        if not posture.failed:
            self._remember({"key": key, "seen": seen, "holds": holds})
        return posture

    async def _try_all(self, image: str, profile: str) -> tuple[dict[str, Any], dict[str, bool]]:
        trials = [self._trial(image, profile, *trial) for trial in _TRIALS.values()]
        walls, *bites = await asyncio.gather(self._walls(image, profile), *trials, return_exceptions=True)
        for fault in (walls, *bites):  # only now that all have ended, and their containers with them
            if isinstance(fault, BaseException):
                raise fault
        assert isinstance(walls, dict)
        holds = walled(walls, _TIGHT, self._settings.shm_bytes)
        return walls, holds | {name: bit is True for name, bit in zip(_TRIALS, bites, strict=True)}

    async def _trial(self, image: str, profile: str, code: str, tighter: dict[str, int], expected: str) -> bool:
        limits = _TIGHT.model_copy(update={"disk_bytes": _MIB, **tighter})
        verdict = judge(await self._run(image, profile, code, limits), limits)
        return verdict.status == expected and verdict.limits_hit[:1] == list(tighter)

    async def _walls(self, image: str, profile: str) -> dict[str, Any]:
        outcome = await self._run(image, profile, _WALLS, _TIGHT)
        try:
            seen: dict[str, Any] = json.loads(outcome.stderr)
        except ValueError:
            told = outcome.stderr.decode(errors="replace")[-300:] or outcome.detail
            raise Unavailable(f"the trial of the container's walls did not end well: {told}") from None
        return {**seen, "stdout_bytes": len(outcome.stdout)}

    async def _run(self, image: str, profile: str, code: str, limits: Limits) -> RawOutcome:
        kind = WorkerClass(image, profile, limits.memory_bytes, limits.pids, limits.disk_bytes, limits.inodes)
        worker = await self._backend.launch(kind, "preflight")
        try:
            job = Job("preflight", limits, [], ENVIRONMENT, [(Role.PROGRAM, "main.py", code.encode())])
            return await worker.run(job, _Nobody())
        finally:
            await worker.destroy()

    def _remembered(self, key: str) -> tuple[dict[str, Any], dict[str, bool]] | None:
        """What was seen, and what of it held, when this was last tried on just the same; None: try it again."""
        try:
            known = json.loads("" if self._memory is None else self._memory.read_text())
            return (known["seen"], known["holds"]) if known["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, known: dict[str, Any]) -> None:
        if self._memory is None:
            return
        beside = self._memory.with_suffix(".new")
        try:
            beside.write_text(json.dumps(known) + "\n")
            beside.replace(self._memory)
        except OSError as fault:
            log.warning("sandbox.preflight_not_remembered", reason=str(fault))


def _posture(facts: Facts, image: str, seen: dict[str, Any], holds: dict[str, bool], *, tried: bool) -> Posture:
    excused = {*facts.limits_unenforced, *([NETWORK] if facts.network == "allowed" else [])}
    walls = {name: "holds" if held else "excused" if name in excused else "fails" for name, held in holds.items()}
    return Posture(facts.engine, facts.runtime, facts.kernel, image, facts.limits_unenforced, walls, seen, tried)


def require_sound(posture: Posture) -> None:
    """Refuse a backend on which a wall or a limit does not hold, though it should."""
    if posture.failed:
        name = f"{posture.engine} with {posture.runtime}"
        raise Unavailable(f"{name} does not enforce {', '.join(posture.failed)}, so nothing is run on it")


def require_accepted(facts: Facts, accepted: Collection[str]) -> None:
    """Refuse a backend that lacks a limit, unless the setting accepts that by the limit's name (CONTRACT 4)."""
    if lacking := [name for name in facts.limits_unenforced if name not in accepted]:
        raise Unavailable(
            f"{facts.engine} with {facts.runtime} cannot enforce {', '.join(lacking)} exactly, so nothing is run; "
            f"to run without, set sandbox.accept_unenforced = {json.dumps(list(facts.limits_unenforced))}"
        )


def require_kernel(profile: Profile, demanded: Kernel, facts: Facts) -> None:
    """Refuse a profile or a key that demands a kernel of its own where the backend shares the host's."""
    if "separate" in (profile.manifest.kernel, demanded) and facts.kernel != "separate":
        who = f"the profile {profile.name}" if profile.manifest.kernel == "separate" else "this key"
        raise Unavailable(
            f"{who} demands a kernel of its own, and {facts.engine} with {facts.runtime} "
            'shares the host\'s; set sandbox.runtime = "runsc"'
        )


def walled(seen: dict[str, Any], limits: Limits, shm_bytes: int) -> dict[str, bool]:
    """Whether each wall and each limit held, by what a job could see and do."""
    ids, sets = set(seen["ids"]), [int(value, 16) for value in seen["capabilities"]]
    return {
        "unprivileged ids": len(ids) == 1 and "0" not in ids and not seen["groups"],
        "empty capability sets": len(sets) >= 3 and not any(sets),
        "no_new_privs": seen["no_new_privs"],
        "the system call filter": seen["seccomp"] == "2",
        NETWORK: seen["interfaces"] == ["lo"],
        "the read-only root": seen["writable"] == [],
        "pids": seen["pids"] < limits.pids,
        "open_files": seen["open_files"] < limits.open_files,
        "inodes": seen["inodes"] < limits.inodes,
        "disk_bytes": seen["disk_bytes"] <= limits.disk_bytes,
        "the size of /dev/shm": seen["shm_bytes"] <= shm_bytes,
        "stdout_bytes": seen["stdout_bytes"] == limits.stdout_bytes,
    }
