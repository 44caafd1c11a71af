"""The verdict on one run, from evidence alone: pure, and deaf to everything that the job itself wrote (CONTRACT 4)."""

import os
import signal
from dataclasses import dataclass, field

from orchestrator.contracts.executions import Limits, Status
from orchestrator.sandbox.jobs import Evidence, RawOutcome

_PAGE = 4096
_WORDS = {
    "wall_ms": "it ran longer than {wall_ms:,} ms",
    "cpu_ms": "its processes used more than {cpu_ms:,} ms of processor time",
    "memory_bytes": "it needed more than {memory_bytes:,} bytes of memory",
    "pids": "it wanted more than {pids:,} processes and threads",
    "disk_bytes": "its files filled {disk_bytes:,} bytes",
    "inodes": "it made {inodes:,} files",
    "stdout_bytes": "it wrote more than {stdout_bytes:,} bytes to its standard output",
    "stderr_bytes": "it wrote more than {stderr_bytes:,} bytes to its standard error",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The deciding members of an execution."""

    status: Status
    exit_code: int | None = None
    signal: str | None = None
    limits_hit: list[str] = field(default_factory=list)
    reason: str = ""


def judge(outcome: RawOutcome, limits: Limits) -> Verdict:
    """Say what happened to one run."""
    if outcome.evidence is not None:
        return _from_evidence(outcome.evidence, limits)
    return _without_evidence(outcome, limits)


def lateness_ms(outcome: RawOutcome, limits: Limits) -> float | None:
    """From the wall deadline to the proof of death, as the host saw it; None where that deadline did not end it."""
    ended_by_us = outcome.loss == "silent" if outcome.evidence is None else outcome.evidence.ended_by == "wall_ms"
    return max(0.0, outcome.wall_ms - limits.wall_ms) if ended_by_us and outcome.started else None


def _from_evidence(seen: Evidence, limits: Limits) -> Verdict:
    bitten = _bitten(seen, limits)
    if seen.survivors:
        return Verdict("infra", limits_hit=bitten, reason="A process outlived its end, so the container was destroyed.")
    if os.WIFEXITED(seen.wait_status):
        return _exited(os.WEXITSTATUS(seen.wait_status), bitten, limits)
    number = os.WTERMSIG(seen.wait_status)
    if seen.ended_by == "cancel":
        return Verdict("cancelled", limits_hit=bitten, reason="Cancelled by its client while it ran.")
    if seen.ended_by is not None:
        status: Status = "timeout" if seen.ended_by in ("wall_ms", "cpu_ms") else "output_limit"
        hit = [seen.ended_by, *(name for name in bitten if name != seen.ended_by)]
        return Verdict(status, limits_hit=hit, reason=f"Ended: {_words(seen.ended_by, limits)}.")
    if number == signal.SIGKILL and seen.oom_kills:
        return Verdict("oom", limits_hit=bitten, reason=f"Killed by the kernel: {_words('memory_bytes', limits)}.")
    name = _signal_name(number)
    return Verdict("signal", signal=name, limits_hit=bitten, reason=f"Died of {name}{_aside(bitten, limits)}.")


def _exited(code: int, bitten: list[str], limits: Limits) -> Verdict:
    ended = "Ended by itself" if code == 0 else f"Ended by itself with exit code {code}"
    return Verdict(
        "ok" if code == 0 else "error", exit_code=code, limits_hit=bitten, reason=f"{ended}{_aside(bitten, limits)}."
    )


def _without_evidence(outcome: RawOutcome, limits: Limits) -> Verdict:
    if outcome.loss == "cancelled":
        return Verdict("cancelled", reason="Cancelled by its client.")
    if outcome.loss == "silent" and outcome.started:
        return Verdict("timeout", limits_hit=["wall_ms"], reason=f"Killed from outside: {_words('wall_ms', limits)}.")
    if outcome.loss == "oom":
        words = _words("memory_bytes", limits)
        return Verdict("oom", limits_hit=["memory_bytes"], reason=f"Killed by the kernel with its container: {words}.")
    if outcome.loss == "refused":
        return Verdict("infra", reason=f"It was not begun: {outcome.detail}.")
    ran = "It may have run" if outcome.started else "It did not run"
    return Verdict("infra", reason=f"The container was lost: {outcome.detail}. {ran}.")


def _bitten(seen: Evidence, limits: Limits) -> list[str]:
    """The limits that were felt on the way, whatever the end; for disk and inodes, those still exhausted then."""
    felt = {
        "memory_bytes": seen.oom_kills > 0,
        "pids": seen.pids_refused > 0,
        "disk_bytes": seen.disk_free_bytes < _PAGE,
        "inodes": seen.inodes_free == 0,
        "stdout_bytes": seen.stdout_bytes > limits.stdout_bytes,
        "stderr_bytes": seen.stderr_bytes > limits.stderr_bytes,
    }
    return [name for name, bit in felt.items() if bit]


def _words(limit: str, limits: Limits) -> str:
    return _WORDS[limit].format_map(limits.model_dump())


def _aside(bitten: list[str], limits: Limits) -> str:
    return "; on the way " + ", and ".join(_words(name, limits) for name in bitten) if bitten else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"  # a real-time signal without a name
