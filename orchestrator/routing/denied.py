"""What nobody gets by asking for it in words. Pure (R2-07, CONTRACT 2)."""

from orchestrator.contracts.errors import Forbidden
from orchestrator.routing.settings import RoutingSettings
from orchestrator.routing.words import PhraseIndex, phrase


class Denials:
    """The denied groups and disabled intents of one configuration."""

    def __init__(self, settings: RoutingSettings) -> None:
        self._intents = frozenset(settings.disabled_intents)
        self._group_of = {phrase(k): name for name, group in settings.denied.items() for k in group.keywords}
        self._phrases = PhraseIndex(self._group_of)

    def refuse_intent(self, intent: str | None) -> None:
        """Raise `Forbidden` (`capability_disabled`) for a disabled intent."""
        if intent in self._intents:
            raise Forbidden(f"the intent {intent} is disabled here", code="capability_disabled")

    def refuse_words(self, text_words: list[str]) -> None:
        """Raise `Forbidden` (`capability_disabled`) for a text of a denied group."""
        found = sorted(self._phrases.found(text_words))
        if found:
            group = self._group_of[found[0]]
            raise Forbidden(
                f"queries about {' '.join(found[0])!r} are refused here (group {group})",
                code="capability_disabled",
                extra={"group": group},
            )
