"""Untrusted text on a person's terminal: words and colours pass, whatever else steers a terminal is shown instead."""

import re
import unicodedata

_COLOUR = r"\x1b\[[0-9;:]{0,32}m"
_UNFINISHED = re.compile(r"\x1b(\[[0-9;:]{0,32})?\Z")
_PIECES = re.compile(f"({_COLOUR})")
_OBEYED = "\n\t\r\b"
_PICTURES = 0x2400
"""Where the pictures of the control characters begin: that of ESC is ␛."""


class Screen:
    """One stream of untrusted text on its way to a terminal. A colour that comes in two pieces is still one."""

    def __init__(self) -> None:
        self._held = ""

    def harmless(self, text: str) -> str:
        """What may be written of it now."""
        text = self._held + text
        cut = _UNFINISHED.search(text)
        self._held = cut[0] if cut else ""
        return harmless(text[: len(text) - len(self._held)])

    def rest(self) -> str:
        """What was still held back at the end."""
        return harmless(self._held)


def harmless(text: str) -> str:
    """The text with every control character shown as a picture, but for line ends, tabs and colours."""
    return "".join(
        piece if number % 2 else "".join(map(_shown, piece)) for number, piece in enumerate(_PIECES.split(text))
    )


def _shown(character: str) -> str:
    if character in _OBEYED or unicodedata.category(character) != "Cc":
        return character
    code = ord(character)
    return chr(_PICTURES + code) if code < 32 else "\u2421" if code == 127 else "\ufffd"
