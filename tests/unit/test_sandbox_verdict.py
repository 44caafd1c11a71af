"""Verdicts are decided from evidence alone (CONTRACT 4, the table of statuses)."""

import signal

import pytest

from orchestrator.contracts.executions import Limits
from orchestrator.sandbox.answers import as_text, was_cut
from orchestrator.sandbox.jobs import Evidence, RawOutcome
from orchestrator.sandbox.verdict import judge, lateness_ms

LIMITS = Limits(stdout_bytes=100, stderr_bytes=100)
CALM = {
    "ended_by": None, "wait_status": 0, "alive": False, "survivors": False, "wall_ms": 3.2, "cpu_ms": 2, "peak_memory_bytes": 9_000_000,
    "oom_kills": 0, "pids_refused": 0, "disk_free_bytes": 10**6, "inodes_free": 100, "stdout_bytes": 3, "stderr_bytes": 0,
}  # fmt: skip
KILLED, SEGV = int(signal.SIGKILL), int(signal.SIGSEGV) | 0x80


def code(number: int) -> int:
    return number << 8


TABLE = {
    "ended well": ({}, "ok", 0, None, []),
    "ended badly": ({"wait_status": code(3)}, "error", 3, None, []),
    "124 of its own": ({"wait_status": code(124)}, "error", 124, None, []),
    "137 of its own": ({"wait_status": code(137)}, "error", 137, None, []),
    "137 of its own, after a child's oom": ({"wait_status": code(137), "oom_kills": 1}, "error", 137, None, ["memory_bytes"]),
    "139 of its own": ({"wait_status": code(139)}, "error", 139, None, []),
    "a crash": ({"wait_status": SEGV}, "signal", None, "SIGSEGV", []),
    "killed by itself": ({"wait_status": KILLED}, "signal", None, "SIGKILL", []),
    "killed by the kernel": ({"wait_status": KILLED, "oom_kills": 1}, "oom", None, None, ["memory_bytes"]),
    "a crash beside a child's oom": ({"wait_status": SEGV, "oom_kills": 1}, "signal", None, "SIGSEGV", ["memory_bytes"]),
    "a real-time signal": ({"wait_status": 40}, "signal", None, "SIG40", []),
    "too long": ({"wait_status": KILLED, "ended_by": "wall_ms"}, "timeout", None, None, ["wall_ms"]),
    "too much cpu": ({"wait_status": KILLED, "ended_by": "cpu_ms"}, "timeout", None, None, ["cpu_ms"]),
    "too long, and a child's oom": ({"wait_status": KILLED, "ended_by": "wall_ms", "oom_kills": 2}, "timeout", None, None, ["wall_ms", "memory_bytes"]),
    "ended as the deadline came": ({"ended_by": "wall_ms"}, "ok", 0, None, []),
    "a flood": ({"wait_status": KILLED, "ended_by": "stdout_bytes", "stdout_bytes": 10**8}, "output_limit", None, None, ["stdout_bytes"]),
    "cut output": ({"stdout_bytes": 101, "stderr_bytes": 100}, "ok", 0, None, ["stdout_bytes"]),
    "forks refused": ({"pids_refused": 4}, "ok", 0, None, ["pids"]),
    "a full disk": ({"disk_free_bytes": 0, "wait_status": code(1)}, "error", 1, None, ["disk_bytes"]),
    "no inode left": ({"inodes_free": 0}, "ok", 0, None, ["inodes"]),
    "cancelled": ({"wait_status": KILLED, "ended_by": "cancel"}, "cancelled", None, None, []),
    "a survivor": ({"survivors": True}, "infra", None, None, []),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "status", "exit_code", "signal_name", "hits"), TABLE.values(), ids=TABLE)
def test_evidence_decides(seen, status, exit_code, signal_name, hits):
    """R2-17: exit, signal, limit, memory with the kernel's count; each said exactly, each with a sentence."""
    verdict = judge(RawOutcome(evidence=Evidence.model_validate(CALM | seen), started=True), LIMITS)
    assert (verdict.status, verdict.exit_code, verdict.signal, verdict.limits_hit) == (
        status,
        exit_code,
        signal_name,
        hits,
    )
    assert verdict.reason[0].isupper()
    assert verdict.reason.endswith(".")


@pytest.mark.parametrize(
    ("loss", "started", "status", "hits"),
    [
        ("silent", True, "timeout", ["wall_ms"]),
        ("silent", False, "infra", []),
        ("oom", True, "oom", ["memory_bytes"]),
        ("died", True, "infra", []),
        ("refused", False, "infra", []),
        ("cancelled", True, "cancelled", []),
    ],
)
def test_without_evidence_the_verdict_is_the_engines_word_or_our_fault(loss, started, status, hits):
    """CONTRACT 4: `infra` says whether it may have run."""
    verdict = judge(RawOutcome(loss=loss, detail="it was removed", started=started), LIMITS)
    assert (verdict.status, verdict.exit_code, verdict.limits_hit) == (status, None, hits)
    if loss == "died":
        assert "may have run" in verdict.reason


@pytest.mark.parametrize("wrong", [{"wait_status": -1}, {"ended_by": "me"}, {"wait_status": "0"}, {"more": 1}])
def test_evidence_of_another_shape_is_refused(wrong):
    """What comes out of a container is checked before it is believed."""
    with pytest.raises(ValueError, match="validation error"):
        Evidence.model_validate(CALM | wrong)


@pytest.mark.parametrize(
    ("stdout", "cut", "told", "encoding"),
    [
        (b"plain", False, "plain", "utf-8"),
        ("\u20ac\u20ac".encode()[:-1], True, "\u20ac", "utf-8"),
        ("\u20ac".encode()[:-1], False, "4oI=", "base64"),
        (b"\xff" + b"x" * 5, True, "/3h4eHh4", "base64"),
        (b"\0\x1b[0m", False, "\0\x1b[0m", "utf-8"),
    ],
)
def test_output_is_text_where_it_is_text(stdout, cut, told, encoding):
    """CONTRACT 4: a cut falls between characters; what is not UTF-8 is base64, both streams alike."""
    assert as_text(stdout, b"e", (cut, False)) == (told, "e" if encoding == "utf-8" else "ZQ==", encoding)


def test_without_evidence_a_full_output_may_have_been_cut():
    outcome = RawOutcome(loss="silent", stdout=bytearray(100))
    assert was_cut(outcome, LIMITS) == (True, False)


@pytest.mark.parametrize(
    ("ended_by", "loss", "started", "late_ms"),
    [
        ("wall_ms", None, True, 12.5),
        ("cpu_ms", None, True, None),
        (None, None, True, None),
        (None, "silent", True, 12.5),
        (None, "silent", False, None),
        (None, "died", True, None),
    ],
)
def test_how_late_a_kill_came_is_known_where_the_wall_deadline_brought_it(ended_by, loss, started, late_ms):
    """From that deadline to the proof of death, by the host's clock."""
    evidence = None if loss else Evidence.model_validate({**CALM, "ended_by": ended_by, "wait_status": KILLED})
    outcome = RawOutcome(evidence=evidence, loss=loss, started=started, wall_ms=LIMITS.wall_ms + 12.5)
    assert lateness_ms(outcome, LIMITS) == late_ms
    outcome.wall_ms = LIMITS.wall_ms - 1
    assert lateness_ms(outcome, LIMITS) == (None if late_ms is None else 0)
