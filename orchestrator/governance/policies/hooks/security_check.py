"""`security_check`: whether a user may, and whether he consented where params hold what is sensitive (R1-21)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from orchestrator.governance.policies.finding import Parts
from orchestrator.sdk.policies import PolicyHook, user_of

ANYBODY = "*"
_NAMES = re.compile(
    r"pass(word|wd|phrase)|secret|(api|access|auth|private)[_-]?(key|token)|credential|^ssn$|social[_-]?security"
    r"|card[_-]?number|credit[_-]?card|^cvv$|^iban$|passport|date[_-]?of[_-]?birth",
    re.IGNORECASE,
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")
_SSN = re.compile(r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)")
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_IBAN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?![A-Z0-9])")


def make(parts: Parts) -> PolicyHook:
    """The hook, by the setting `policy_permissions`."""
    return SecurityCheck(parts.settings.policy_permissions)


class SecurityCheck(PolicyHook):
    """Permissions are patterns of capability names by user; those of `*` are everybody's."""

    name = "security_check"

    def __init__(self, permissions: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._permissions = permissions

    def pre_execution(self, step: Any, context: Any) -> Any:
        """Deny without a permission, and what is sensitive without `consentGiven`."""
        patterns = [*self._permissions.get(ANYBODY, ()), *self._permissions.get(user_of(context), ())]
        if not any(fnmatchcase(step["name"], pattern) for pattern in patterns):
            return {"allow": False, "reason": "Insufficient permissions"}
        consented = context.get("consentGiven") is True or context.get("consent_given") is True
        if sensitive(step["params"]) and not consented:
            return {"allow": False, "reason": "Sensitive data detected, consent required"}
        return {"allow": True}


def sensitive(value: Any) -> bool:
    """Whether a JSON value holds a secret or a number that stands for a person or an account, by name or by form."""
    return any(_NAMES.search(text) if is_name else _looks_sensitive(text) for is_name, text in _texts(value))


def _texts(value: Any) -> Iterator[tuple[bool, str]]:
    """All texts in it, and whether each is a member's name."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str | int) and not isinstance(item, bool):
            yield False, str(item)
        elif isinstance(item, dict):
            yield from ((True, str(name)) for name in item)
            todo += item.values()
        elif isinstance(item, list):
            todo += item


def _looks_sensitive(text: str) -> bool:
    if _PRIVATE_KEY.search(text) or _SSN.search(text):
        return True
    cards = (re.sub(r"\D", "", found) for found in _CARD.findall(text))
    ibans = (found.replace(" ", "") for found in _IBAN.findall(text))
    return any(map(_luhn, cards)) or any(map(_is_iban, ibans))


def _luhn(digits: str) -> bool:
    """The check digit of a card's number."""
    doubled = [int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(reversed(digits))]
    return sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    """ISO 7064, mod 97."""
    moved = text[4:] + text[:4]
    return int("".join(str(int(letter, 36)) for letter in moved)) % 97 == 1
