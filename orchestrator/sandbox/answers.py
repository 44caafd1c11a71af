"""From what a run left behind to the answer that a client gets: verdict, outputs, usage, and where it ran."""

import base64
import codecs
from typing import Literal

from orchestrator.contracts.executions import Execution, ExecutionRequest, Limits, SandboxFacts, Usage
from orchestrator.sandbox.backends.port import Facts
from orchestrator.sandbox.jobs import RawOutcome
from orchestrator.sandbox.verdict import judge


def compose(
    execution_id: str, request: ExecutionRequest, limits: Limits, outcome: RawOutcome, usage: Usage, where: SandboxFacts
) -> Execution:
    """The whole answer."""
    verdict = judge(outcome, limits)
    cut = was_cut(outcome, limits)
    stdout, stderr, encoding = as_text(bytes(outcome.stdout), bytes(outcome.stderr), cut)
    return Execution(
        id=execution_id,
        status=verdict.status,
        exit_code=verdict.exit_code,
        signal=verdict.signal,
        limits_hit=verdict.limits_hit,
        reason=verdict.reason,
        stdout=stdout,
        stderr=stderr,
        stdout_truncated=cut[0],
        stderr_truncated=cut[1],
        encoding=encoding,
        usage=usage,
        sandbox=where,
        language=request.language,
        profile=request.profile,
        subject=request.subject,
    )


def usage(outcome: RawOutcome, queued_ms: float, start_ms: float) -> Usage:
    """What the run used, by the kernel's counts where there is evidence, else what the host saw."""
    seen = outcome.evidence
    return Usage(
        wall_ms=round(seen.wall_ms if seen else outcome.wall_ms, 3),
        cpu_ms=round(seen.cpu_ms, 3) if seen else 0.0,
        peak_memory_bytes=seen.peak_memory_bytes if seen else 0,
        queued_ms=round(queued_ms, 3),
        start_ms=round(start_ms, 3),
    )


def where(facts: Facts, profile: str, *, warm: bool) -> SandboxFacts:
    """What the program ran in."""
    return SandboxFacts(
        engine=facts.engine,
        runtime=facts.runtime,
        image=facts.images[profile],
        network=facts.network,
        warm=warm,
        limits_unenforced=list(facts.limits_unenforced),
        dev=True if facts.dev else None,
    )


def was_cut(outcome: RawOutcome, limits: Limits) -> tuple[bool, bool]:
    """Whether standard output and standard error were longer than what was kept; without evidence, whether they may."""
    if outcome.evidence is None:
        return len(outcome.stdout) >= limits.stdout_bytes, len(outcome.stderr) >= limits.stderr_bytes
    totals = outcome.evidence.output_bytes
    return totals.get("stdout", 0) > limits.stdout_bytes, totals.get("stderr", 0) > limits.stderr_bytes


def as_text(stdout: bytes, stderr: bytes, cut: tuple[bool, bool]) -> tuple[str, str, Literal["utf-8", "base64"]]:
    """Both outputs as text if both are UTF-8, else both as base64; where an output was cut, between characters."""
    try:
        return _decode(stdout, cut[0]), _decode(stderr, cut[1]), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(stdout).decode(), base64.b64encode(stderr).decode(), "base64"


def _decode(data: bytes, cut: bool) -> str:
    """Decode strictly; of a cut output, an unfinished character at the end is left out."""
    return codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
