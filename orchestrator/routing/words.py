"""Text as whole words, and phrases found in it. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of a text, case folded: `De-code THIS_now` is `de code this now`."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def phrase(keyword: str) -> tuple[str, ...]:
    """A keyword as the words it is made of."""
    return tuple(words(keyword))


class PhraseIndex:
    """Finds which of many phrases a text contains, in time that depends on the text alone."""

    def __init__(self, phrases: Iterable[tuple[str, ...]]) -> None:
        self._phrases = {p for p in phrases if p}
        self._lengths = sorted({len(p) for p in self._phrases})

    def found(self, text_words: list[str]) -> set[tuple[str, ...]]:
        """The phrases that stand in the text, as whole words next to each other."""
        return {gram for gram in self._grams(text_words) if gram in self._phrases}

    def _grams(self, text_words: list[str]) -> Iterator[tuple[str, ...]]:
        for length in self._lengths:
            for start in range(len(text_words) - length + 1):
                yield tuple(text_words[start : start + length])
