"""The faults that leave a room, each with a stable `code` and the HTTP `status` that it becomes.

Code that fails in the sandbox is no fault but an outcome, and so it is data (see `executions`).
"""

import math
from typing import Any, ClassVar


class OrchestratorError(Exception):
    """Base of all faults told to a client.

    `errors` lists `{"loc": [...], "msg": "..."}` where a body does not validate; `extra` adds members to the problem
    document; `headers` adds headers to the answer.
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: list[dict[str, Any]] | None = None,
        extra: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.errors = errors or []
        self.extra = extra or {}
        self.headers = headers or {}


class ApprovalRequired(OrchestratorError):
    """No fault: a person has to be asked first (CONTRACT 2). `extra` has the `id` of what waits and `command_id`."""

    status = 202
    default_code = "awaiting_approval"


class Malformed(OrchestratorError):
    """The body is not what its media type says."""

    status = 400
    default_code = "malformed"


class Unauthenticated(OrchestratorError):
    """No key, or a wrong one (`key_required`, `key_invalid`)."""

    status = 401
    default_code = "key_required"


class Forbidden(OrchestratorError):
    """Known, and not allowed (`scope_missing`, `origin_denied`, `identity_required`, `capability_disabled`)."""

    status = 403
    default_code = "scope_missing"


class Violation(Forbidden):
    """Not merely not allowed: it must never happen (X-05). Whoever raises it has stopped it; it becomes an incident."""

    default_code = "policy_violation"


class NotFound(OrchestratorError):
    """Not there, or not the caller's to see."""

    status = 404
    default_code = "not_found"


class Conflict(OrchestratorError):
    """The state of the thing forbids it."""

    status = 409
    default_code = "illegal_transition"


class Gone(OrchestratorError):
    """It was there and has ended for good."""

    status = 410
    default_code = "session_ended"


class Invalid(OrchestratorError):
    """Understood and wrong (`invalid`, or a narrower code such as `no_route`)."""

    status = 422
    default_code = "invalid"


class TooMany(OrchestratorError):
    """Too much at once; `retry_after_s` becomes the `Retry-After` header."""

    status = 429
    default_code = "queue_full"

    def __init__(self, detail: str, *, retry_after_s: float = 1.0, **more: Any) -> None:
        super().__init__(detail, **more)
        self.headers.setdefault("Retry-After", str(max(1, math.ceil(retry_after_s))))


class PluginFailed(OrchestratorError):
    """A plugin raised, left, or answered what is not JSON; also an open breaker.

    `traceback` holds the plugin's own frames, for logs and admins, never for the answer.
    """

    status = 502
    default_code = "plugin_error"

    def __init__(self, detail: str, *, traceback: str | None = None, **more: Any) -> None:
        super().__init__(detail, **more)
        self.traceback = traceback


class PluginTimeout(OrchestratorError):
    """A plugin did not answer by its deadline."""

    status = 504
    default_code = "plugin_timeout"


class Unavailable(OrchestratorError):
    """A part that is needed is not there now (`sandbox_unavailable`, `store_unavailable`, `draining`, `halted`)."""

    status = 503
    default_code = "sandbox_unavailable"

    def __init__(self, detail: str, *, retry_after_s: float = 1.0, **more: Any) -> None:
        super().__init__(detail, **more)
        self.headers.setdefault("Retry-After", str(max(1, math.ceil(retry_after_s))))


class StartRefused(OrchestratorError):
    """The daemon, or a part of it, refuses to start; the detail says what mends it."""

    default_code = "start_refused"


_KINDS: tuple[type[OrchestratorError], ...] = (
    Malformed, Unauthenticated, Forbidden, NotFound, Conflict, Gone, Invalid, TooMany, PluginFailed, PluginTimeout,
    Unavailable,
)  # fmt: skip


def of_problem(problem: dict[str, Any]) -> OrchestratorError:
    """What a daemon answered instead: the fault that it was there."""
    by_status = {kind.status: kind for kind in _KINDS}
    kind = by_status.get(int(problem.get("status", 500)), OrchestratorError)
    known = ("type", "title", "status", "detail", "code", "errors")
    extra = {name: value for name, value in problem.items() if name not in known}
    detail = str(problem.get("detail", "refused"))
    return kind(detail, code=problem.get("code"), errors=problem.get("errors"), extra=extra)
