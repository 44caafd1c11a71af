"""What a program lacked and another profile has. Pure; a hint and no more, since the program wrote it (CONTRACT 4)."""

import re
from collections.abc import Mapping

from orchestrator.contracts.executions import Hint, Outcome
from orchestrator.sandbox.profiles import Profile

_LAST_WORDS = re.compile(r"ModuleNotFoundError: No module named '([^'.]+)[^']*'")


def add(outcome: Outcome, ran_on: Profile, known: Mapping[str, Profile]) -> Outcome:
    """The outcome, with a hint where it ended for want of a module that another profile of its language has."""
    module = _missing(outcome)
    if module is None or module in ran_on.manifest.modules:
        return outcome
    language = ran_on.manifest.language
    for name, profile in sorted(known.items()):
        if profile.manifest.language == language and module in profile.manifest.modules:
            reason = f"{outcome.reason} The profile {name} has the module {module}."
            return outcome.model_copy(update={"hint": Hint(module=module, profile=name), "reason": reason})
    return outcome


def _missing(outcome: Outcome) -> str | None:
    """The top-level module that a traceback at the very end says is not there."""
    if outcome.status != "error" or outcome.encoding != "utf-8" or outcome.stderr_truncated:
        return None
    last = outcome.stderr[-1_000:].rstrip("\n").rpartition("\n")[2]
    found = _LAST_WORDS.match(last)
    return found[1] if found else None
