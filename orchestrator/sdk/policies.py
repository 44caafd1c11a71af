"""Policy hooks: who may say no before a step runs, and who hears how it went (seed 001, R1-18)."""

from collections.abc import Callable, Mapping
from typing import Any

Pre = Callable[[Any, Any], Any]
Post = Callable[[Any, Any, Any], Any]


class PolicyHook:
    """A hook with a name. Subclass it and write either method, or give functions; plain and async ones work.

    `step` is a plan's step and `context` what was told with the execution, with `userId`, `identityId`, `contextId`,
    `commandId`, `executionId` and `sphere` in any case. Both read as mappings and by attribute.
    """

    name = "policy"

    def __init__(
        self, name: str | None = None, pre_execution: Pre | None = None, post_execution: Post | None = None
    ) -> None:
        self.name = name or type(self).name
        self._pre = pre_execution
        self._post = post_execution

    def pre_execution(self, step: Any, context: Any) -> Any:
        """`{"allow": True}`, or `{"allow": False, "reason": "…"}`. What else it does is a denial (R1-20)."""
        return {"allow": True} if self._pre is None else self._pre(step, context)

    def post_execution(self, step: Any, result: Any, context: Any) -> Any:
        """Hear of a step that completed or failed; `result` is seed 001's StepResult."""
        return None if self._post is None else self._post(step, result, context)


def user_of(context: Mapping[str, Any]) -> str:
    """Whom a step is done for, in either spelling."""
    return str(context.get("userId") or context.get("user_id") or context.get("identityId"))
