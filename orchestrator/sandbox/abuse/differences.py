"""How what came differs from the verdict that must come: pure, and each difference a sentence."""

import base64
import hashlib
from collections.abc import Iterable, Iterator

from orchestrator.contracts.executions import Execution
from orchestrator.sandbox.abuse.cases import Case

LATE_MS = 500
"""How long after its deadline a program may be seen. The rule is 250 ms for 99 of 100; one alone proves less."""


def differences(case: Case, seen: Execution) -> list[str]:
    """Of an execution; none where it is right."""
    if case.refused:
        return [f"it was run, and should be refused at {case.refused}"]
    return [*_verdict(case, seen), *_output(case, seen), *_artifacts(case, seen)]


def refusal_differences(case: Case, locs: Iterable[tuple[str | int, ...]], code: str) -> list[str]:
    """Of a refusal with faults at these places and this code."""
    seen, expected = set(locs), set(map(tuple, case.refused))
    if (seen, code) == (expected, case.refused_code):
        return []
    right = f"as {case.refused_code} at {sorted(expected, key=repr)}" if expected else "run"
    return [f"refused as {code} at {sorted(seen, key=repr)}, not {right}"]


def tail(seen: Execution) -> str:
    """The end of both outputs."""
    return f"stdout {seen.stdout[-300:]!r}, stderr {seen.stderr[-300:]!r}"


def _verdict(case: Case, seen: Execution) -> Iterator[str]:
    expected = (case.status, 0 if case.status == "ok" else case.exit_code, case.signal, sorted(case.hits))
    came = (seen.status, seen.exit_code, seen.signal, sorted(seen.limits_hit))
    if came != expected:
        yield f"came {_told(*came)}, not {_told(*expected)}: {seen.reason} {tail(seen)}"
    if not seen.reason.endswith("."):
        yield f"the reason is no sentence: {seen.reason!r}"
    if seen.sandbox is None or seen.sandbox.network != "none":
        yield "there was a network, or nobody says that there was none"
    if (most := _most_ms(case)) is not None and seen.usage.wall_ms > most:
        yield f"took {seen.usage.wall_ms:.0f} ms, more than {most:.0f}"


def _told(status: str, exit_code: int | None, signal: str | None, hits: list[str]) -> str:
    how = signal or ("" if exit_code is None else str(exit_code))
    return " ".join(filter(None, (status, how, f"({', '.join(hits)})" if hits else "")))


def _most_ms(case: Case) -> float | None:
    if case.most_ms is None and case.status == "timeout" and "wall_ms" in case.hits:
        return case.limits["wall_ms"] + LATE_MS
    return case.most_ms


def _output(case: Case, seen: Execution) -> Iterator[str]:
    both = seen.stdout + seen.stderr
    if seen.encoding != case.encoding:
        yield f"the output came as {seen.encoding}"
    if case.stdout is not None and seen.stdout != case.stdout:
        yield f"printed {seen.stdout[-300:]!r}, not {case.stdout[-300:]!r}: {seen.stderr[-300:]!r}"
    if case.says not in both:
        yield f"did not say {case.says!r}: {tail(seen)}"
    for word in case.never:
        if word in both:
            yield f"said {word!r}: {tail(seen)}"
    for name, cut in (("stdout", seen.stdout_truncated), ("stderr", seen.stderr_truncated)):
        if cut != (f"{name}_bytes" in seen.limits_hit):
            yield f"{name}_truncated is {cut}, and limits_hit says otherwise"


def _artifacts(case: Case, seen: Execution) -> Iterator[str]:
    kept = {path: artifact.bytes for path, artifact in seen.artifacts.items()}
    if kept != case.kept_artifacts:
        yield f"kept {kept}, not {case.kept_artifacts}"
    skipped = {entry.path: entry.reason for entry in seen.artifacts_skipped}
    if skipped != case.skipped:
        yield f"skipped {skipped}, not {case.skipped}"
    for path, artifact in seen.artifacts.items():
        content = base64.b64decode(artifact.base64)
        if (len(content), hashlib.sha256(content).hexdigest()) != (artifact.bytes, artifact.sha256):
            yield f"the artifact {path!r} is not what its size and digest say"
