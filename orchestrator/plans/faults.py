"""What is wrong: with a piece of text in a plan (raised), and with a plan (listed, all at once)."""

from dataclasses import dataclass
from typing import Any

Loc = tuple[str | int, ...]
"""Where in a plan's JSON: `("steps", 1, "params", "to")`."""


class TextError(ValueError):
    """A text that cannot be read, or not be bound to values: where, counted in characters from 0, and why."""

    def __init__(self, sentence: str, position: int = 0) -> None:
        super().__init__(f"{sentence} (at character {position})")
        self.sentence = sentence
        self.position = position


class PathError(TextError):
    """Of a path, `step_1.output.id`."""


class TemplateError(TextError):
    """Of a text with `{{…}}` in it."""


class ConditionError(TextError):
    """Of a condition: the only exception that reading and evaluating one ever raises (REQUIREMENTS 4)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that makes a plan invalid: where, by which rule, and what to a person."""

    loc: Loc
    code: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """As in the `errors` of a problem document (CONTRACT 1)."""
        return {"loc": list(self.loc), "code": self.code, "msg": self.message}
