"""From what a run left behind to the answer that a client gets: verdict, outputs, usage, and where it ran."""

import base64
import codecs
import hashlib
from typing import Literal

from orchestrator.contracts.executions import (
    Artifact,
    Execution,
    Limits,
    Outcome,
    SandboxFacts,
    Skipped,
    Usage,
)
from orchestrator.sandbox.backends.port import Facts
from orchestrator.sandbox.jobs import RawOutcome
from orchestrator.sandbox.requests import Admitted, AdmittedCase
from orchestrator.sandbox.verdict import judge


def compose(execution_id: str, admitted: Admitted, outcomes: list[Outcome], where: SandboxFacts) -> Execution:
    """The whole answer; with cases, that of the first that did not end well, or did not print what was expected."""
    first = next((one for one in outcomes if one.status != "ok" or one.passed is False), outcomes[-1])
    request = admitted.request
    told = {name: getattr(first, name) for name in Outcome.model_fields}
    if request.cases is not None:
        told |= {"stdout": "", "stderr": "", "stdout_truncated": False, "stderr_truncated": False, "encoding": "utf-8"}
        told |= {"artifacts": {}, "artifacts_skipped": [], "cases": outcomes, "usage": _sum(outcomes)}
        told |= {"reason": _summary(outcomes, len(request.cases)), "passed": _all_passed(outcomes, len(request.cases))}
    return Execution(
        **told,
        id=execution_id,
        sandbox=where,
        language=admitted.profile.manifest.language,
        profile=admitted.profile.name,
        subject=request.subject,
    )


def not_begun(admitted: Admitted) -> Outcome:
    """The part of an execution that was cancelled before its turn came."""
    return outcome(RawOutcome(loss="cancelled"), admitted.cases[0], 0, 0, 0)


def outcome(raw: RawOutcome, case: AdmittedCase, queued_ms: float, start_ms: float, room: int) -> Outcome:
    """One job's part of the answer; of its outputs no more than `room` bytes are kept."""
    verdict = judge(raw, case.limits)
    cut = was_cut(raw, case.limits)
    passed = None if case.expected_stdout is None else verdict.status == "ok" and not cut[0]
    if passed:
        passed = raw.stdout == (case.expected_stdout or "").encode()
    stdout, stderr = _first(raw.stdout, room), _first(raw.stderr, room - len(raw.stdout))
    cut = cut[0] or len(stdout) < len(raw.stdout), cut[1] or len(stderr) < len(raw.stderr)
    text = as_text(stdout, stderr, cut)
    return Outcome(
        status=verdict.status,
        exit_code=verdict.exit_code,
        signal=verdict.signal,
        limits_hit=verdict.limits_hit,
        reason=verdict.reason,
        stdout=text[0],
        stderr=text[1],
        stdout_truncated=cut[0],
        stderr_truncated=cut[1],
        encoding=text[2],
        artifacts={path: _artifact(content) for path, content in raw.artifacts.items()},
        artifacts_skipped=[Skipped(path=path, reason=reason) for path, reason in raw.artifacts_skipped],
        usage=usage(raw, queued_ms, start_ms),
        value=raw.value,
        passed=passed,
    )


def _first(data: bytearray, most: int) -> bytes:
    """The first bytes, copied once."""
    return bytes(memoryview(data)[: max(0, most)])


def _artifact(content: bytes) -> Artifact:
    return Artifact(
        bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), base64=base64.b64encode(content).decode()
    )


def _all_passed(outcomes: list[Outcome], wanted: int) -> bool | None:
    """Whether every case that says what it expects printed it; null where none says so."""
    told = [one.passed for one in outcomes if one.passed is not None]
    return all(told) and len(outcomes) == wanted if told else None


def _summary(outcomes: list[Outcome], wanted: int) -> str:
    ended = sum(one.status == "ok" for one in outcomes)
    expecting = [one.passed for one in outcomes if one.passed is not None]
    passed = f", {sum(expecting)} of {len(expecting)} printed what was expected" if expecting else ""
    left = f", {wanted - len(outcomes)} were left out" if len(outcomes) < wanted else ""
    first = next(
        (f"; the first other, number {n}: {one.reason}" for n, one in enumerate(outcomes) if one.status != "ok"), "."
    )
    return f"Of {wanted} cases {ended} ended well{passed}{left}{first}"


def _sum(outcomes: list[Outcome]) -> Usage:
    """The times of all cases together, and the most memory that any of them took."""
    used = [one.usage for one in outcomes]
    return Usage(
        wall_ms=round(sum(one.wall_ms for one in used), 3),
        cpu_ms=round(sum(one.cpu_ms for one in used), 3),
        peak_memory_bytes=max(one.peak_memory_bytes for one in used),
        queued_ms=used[-1].queued_ms,
        start_ms=used[-1].start_ms,
    )


def usage(raw: RawOutcome, queued_ms: float, start_ms: float) -> Usage:
    """What the run used, by the kernel's counts where there is evidence, else what the host saw."""
    seen = raw.evidence
    return Usage(
        wall_ms=round(seen.wall_ms if seen else raw.wall_ms, 3),
        cpu_ms=round(seen.cpu_ms, 3) if seen else 0.0,
        peak_memory_bytes=seen.peak_memory_bytes if seen else 0,
        queued_ms=round(queued_ms, 3),
        start_ms=round(start_ms, 3),
    )


def where(facts: Facts, profile: str, isolation: Literal["container", "cell"], *, warm: bool) -> SandboxFacts:
    """What the program ran in."""
    return SandboxFacts(
        isolation=isolation,
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
    seen = outcome.evidence
    return seen.stdout_bytes > limits.stdout_bytes, seen.stderr_bytes > limits.stderr_bytes


def as_text(stdout: bytes, stderr: bytes, cut: tuple[bool, bool]) -> tuple[str, str, Literal["utf-8", "base64"]]:
    """Both outputs as text if both are UTF-8, else both as base64; where an output was cut, between characters."""
    try:
        return _decode(stdout, cut[0]), _decode(stderr, cut[1]), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(stdout).decode(), base64.b64encode(stderr).decode(), "base64"


def _decode(data: bytes, cut: bool) -> str:
    """Decode strictly; of a cut output, an unfinished character at the end is left out."""
    return codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
