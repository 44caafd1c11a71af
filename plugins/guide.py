"""Answers questions about this system from its own README files: the section that fits the question's words (R2-07)."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.sdk import Manager, Refused, Request

FILES = ("README.md", "orchestrator/README.md")
ENOUGH = 0.5  # the share of a question's weight that a section must know, or it is no answer
HEADING = 3  # a word in a section's own heading counts as so many more in its text
LONGEST = 6_000  # characters of an answer; the rest is at its source

ASKING = frozenset(
    [
        *[
            "a",
            "an",
            "the",
            "of",
            "in",
            "on",
            "to",
            "for",
            "and",
            "or",
            "with",
            "by",
            "from",
            "as",
            "at",
            "it",
            "its",
            "is",
        ],
        *["are", "be", "do", "does", "did", "can", "could", "would", "should", "will", "has", "have", "what", "which"],
        *["who", "when", "where", "why", "how", "i", "me", "my", "you", "your", "we", "this", "that", "these", "there"],
        *[
            "tell",
            "explain",
            "describe",
            "show",
            "about",
            "please",
            "work",
            "works",
            "system",
            "project",
            "orchestrator",
        ],
        *["here", "get", "make", "use"],
    ]
)
ITSELF = frozenset(["system", "project", "orchestrator", "you", "this"])
SAME = {
    "architecture": "architecture house room floor ladder",
    "design": "architecture house room floor ladder",
    "structure": "architecture house room floor ladder",
    "isolated": "isolation sandbox container wall",
    "isolation": "isolation sandbox container wall",
    "safe": "safety security threat isolation boundary",
    "secure": "security threat isolation boundary",
    "add": "add write new",
    "install": "install start run",
}


@dataclass(frozen=True, slots=True)
class Section:
    """What stands below one heading. `words` counts them, those of all headings above it included."""

    source: str
    heading: str
    text: str
    words: Counter[str]


def stem(word: str) -> str:
    """Six letters tell most words of prose apart, whatever their endings."""
    return word.removesuffix("s")[:6] if len(word) > 3 else word


def stems(text: str) -> list[str]:
    """The words of a text, shortened."""
    return [stem(word) for word in re.findall(r"[^\W_]+", text.casefold())]


def sections(source: str, markdown: str) -> Iterator[Section]:
    """The sections of a Markdown file that have a text of their own; a `#` inside a fenced block is no heading."""
    trail: list[str] = []
    body: list[str] = []
    fenced = False
    for line in [*markdown.splitlines(), "# "]:
        fenced ^= line.lstrip().startswith("```")
        mark = None if fenced else re.match(r"(#{1,6}) +(.*)|# $", line)
        if mark is None:
            body.append(line)
            continue
        text = "\n".join(body).strip()
        if text:
            words = Counter(stems("\n".join([text, *trail, *trail[-1:] * HEADING])))
            yield Section(source, trail[-1] if trail else source, text, words)
        level = len(mark[1] or "#")
        trail, body = [*trail[: level - 1], mark[2] or ""], []


class Guide:
    """The sections of all files, and which of them a question is about."""

    def __init__(self, found: list[Section]) -> None:
        self._sections = found
        self._users = Counter(word for section in found for word in section.words)

    def _weight(self, word: str) -> float:
        return math.log((len(self._sections) + 1) / (self._users[word] + 0.5)) if self._users[word] else 0.0

    def best(self, question: str) -> Section | None:
        """The section that fits best, or None where none knows enough of the question's words.

        A word counts for more the fewer sections have it and, less and less, the oftener it stands in one. A word that
        no section has counts as the rarest. A question that names nothing but this system is about its first section.
        """
        said = list(dict.fromkeys(re.findall(r"[^\W_]+", question.casefold())))
        asked = [word for word in said if word not in ASKING]
        if not asked and self._sections and not ITSELF.isdisjoint(said):
            return self._sections[0]
        senses = [[stem(sense) for sense in SAME.get(word, word).split()] for word in asked[:200]]
        rarest = math.log(2 * (len(self._sections) + 1))
        whole = sum(max(map(self._weight, sense)) or rarest for sense in senses)

        def fit(section: Section) -> tuple[bool, float]:
            known = [[word for word in sense if word in section.words] for sense in senses]
            share = sum(max(map(self._weight, words)) for words in known if words) / whole
            score = sum(self._weight(word) * math.log1p(section.words[word]) for words in known for word in words)
            return share >= ENOUGH, score / math.log(8 + math.sqrt(len(section.text)))

        ranked = max(
            ((fit(section), section) for section in self._sections if senses), key=lambda r: r[0], default=None
        )
        return ranked[1] if ranked and ranked[0][0] else None


def shortened(text: str) -> str:
    """The text, or as many of its paragraphs as an answer holds."""
    if len(text) <= LONGEST:
        return text
    kept = text[:LONGEST].rpartition("\n\n")[0] or text[:LONGEST]
    return f"{kept}\n\n…"


def read_all(root: Path) -> list[Section]:
    """All sections of the files that are there."""
    there = [(name, root / name) for name in FILES if (root / name).is_file()]
    return [part for name, path in there for part in sections(name, path.read_text("utf-8", "replace"))]


PLUGIN = {
    "version": "1.0.0",
    "description": "Answers questions about this system from its own README files.",
    "intents": ["ask_guide"],
    "keywords": [
        *["architecture", "documentation", "readme", "quickstart", "threat model", "this system", "this project"],
        *["plugin", "plugins", "orchestrator", "isolated", "isolation", "sandbox", "sandboxed", "audit", "api key"],
        *["how is code isolated", "how does this work", "write a plugin", "add a plugin", "what can you do"],
    ],
    "examples": ["what is the architecture of this system?", "how do I add a plugin?", "how is code isolated?"],
    "config": {
        "type": "object",
        "properties": {"root": {"type": "string", "description": "The folder that the README files lie in."}},
        "additionalProperties": False,
    },
}
GUIDE = Guide([])


def init(manager: Manager) -> None:
    """Read the files once; a saved README is read when the plugin is loaded again."""
    global GUIDE
    GUIDE = Guide(read_all(Path(manager.config.get("root") or Path(__file__).parents[1])))


def handle(request: Request) -> dict[str, Any]:
    """Answer with one section. Raises `Refused` (`cannot_answer`) where none fits."""
    section = GUIDE.best(request["text"])
    if section is None:
        raise Refused("cannot_answer", "No section of the README fits this question.", help="Ask in other words.")
    return {"answer": shortened(section.text), "section": section.heading, "source": section.source}
