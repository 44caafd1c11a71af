"""Patterns over dotted topics: `*` is one word, a last `>` one or more."""

import re

_PATTERN = re.compile(r"(?:[A-Za-z0-9_-]+|\*)(?:\.(?:[A-Za-z0-9_-]+|\*))*(?:\.>)?|>")
_TOPIC = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def is_pattern(text: str) -> bool:
    """Whether `text` is a pattern: `query.completed`, `query.*`, `command.>`, `>`."""
    return len(text) <= 200 and _PATTERN.fullmatch(text) is not None


def is_topic(text: str) -> bool:
    """Whether an event may be told under `text`."""
    return len(text) <= 200 and _TOPIC.fullmatch(text) is not None


def matches(pattern: str, topic: str) -> bool:
    """Whether `topic` is one that `pattern` describes."""
    wanted, words = pattern.split("."), topic.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(words) <= len(wanted):
            return False
        words = words[: len(wanted)]
    return len(wanted) == len(words) and all(w in ("*", word) for w, word in zip(wanted, words, strict=True))
