"""How well each plugin fits a text: an index over keywords, so that 200 plugins cost what ten do. Pure (R2-07)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.contracts.queries import Candidate
from orchestrator.routing.words import PhraseIndex, phrase, words


def score(matched_words: int) -> float:
    """The fit of a plugin of whose keywords so many words were found: 0.5, 0.75, 0.88 … never 1."""
    return round(1 - 0.5**matched_words, 4)


class KeywordIndex:
    """Ranks plugins by the keywords that a text contains."""

    def __init__(self, keywords: Mapping[str, Sequence[str]]) -> None:
        self._plugins: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for plugin, own in keywords.items():
            for keyword in {phrase(k) for k in own}:
                self._plugins[keyword].append(plugin)
        self._phrases = PhraseIndex(self._plugins)
        self._trigrams: dict[str, set[str]] = defaultdict(set)
        for keyword in self._plugins:
            for word in keyword:
                for gram in _trigrams(word):
                    self._trigrams[gram].add(word)
        self._by_word: dict[str, set[str]] = defaultdict(set)
        for keyword, plugins in self._plugins.items():
            for word in keyword:
                self._by_word[word].update(plugins)

    def rank(self, text_words: list[str]) -> list[Candidate]:
        """The plugins that fit, best first; equal ones by name. A phrase counts as many words as it has."""
        matched: dict[str, int] = defaultdict(int)
        for found in self._phrases.found(text_words):
            for plugin in self._plugins[found]:
                matched[plugin] += len(found)
        return _ordered((plugin, score(count)) for plugin, count in matched.items())

    def nearest(self, text: str, limit: int) -> list[Candidate]:
        """The plugins whose keywords look most like words of the text, for a person who mistyped."""
        best: dict[str, float] = defaultdict(float)
        for word in list(dict.fromkeys(words(text)))[:64]:
            for near, likeness in self._alike(word):
                for plugin in self._by_word[near]:
                    best[plugin] = max(best[plugin], likeness)
        return _ordered((plugin, round(fit / 2, 4)) for plugin, fit in best.items())[:limit]

    def _alike(self, word: str) -> Iterable[tuple[str, float]]:
        own = _trigrams(word)
        for near in {w for gram in own for w in self._trigrams.get(gram, ())}:
            theirs = _trigrams(near)
            likeness = len(own & theirs) / len(own | theirs)
            if likeness >= 0.3:
                yield near, likeness


def _trigrams(word: str) -> set[str]:
    padded = f"^{word[:64]}$"
    return {padded[i : i + 3] for i in range(max(1, len(padded) - 2))}


def _ordered(scored: Iterable[tuple[str, float]]) -> list[Candidate]:
    return [Candidate(plugin=p, score=s) for p, s in sorted(scored, key=lambda pair: (-pair[1], pair[0]))]
