"""`audit_logger`: an audit row for each step that completed or failed, with its params as approved (R1-21)."""

from typing import Any

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.governance.policies.finding import Parts
from orchestrator.kernel.canonical import canonical_json, sha256_hex
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.sdk.policies import PolicyHook, user_of

MOST_BYTES = 4096
"""Of params in a row; larger ones are there by size and digest."""


def make(parts: Parts) -> PolicyHook:
    """The hook."""
    return AuditLogger(parts.journal, parts.clock)


class AuditLogger(PolicyHook):
    """Writes `{userId, action, status, timestamp, metadata: {duration, params}}`."""

    name = "audit_logger"

    def __init__(self, journal: Journal, clock: Clock) -> None:
        super().__init__()
        self._journal = journal
        self._clock = clock

    async def post_execution(self, step: Any, result: Any, context: Any) -> None:
        """Durable when it returns."""
        text = canonical_json(step["params"])
        large = {"sha256": sha256_hex(text), "size": len(text)}
        data = {
            "userId": user_of(context), "action": step["name"], "status": result["status"],
            "timestamp": rfc3339(self._clock.now()), "executionId": context["executionId"], "stepId": step["id"],
            "metadata": {
                "duration": result.get("duration"), "params": step["params"] if len(text) <= MOST_BYTES else large,
            },
        }  # fmt: skip
        owner = context["identityId"]
        entry = Entry("policy.step_audited", context["commandId"], owner, result["status"], data, owner)
        await self._journal.record(entry)
