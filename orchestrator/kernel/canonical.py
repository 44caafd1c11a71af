"""One byte string for one JSON value, so that equal values have equal digests (RFC 8785 for the values we use)."""

import hashlib
import json
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value with sorted keys and no spaces.

    Raises `ValueError` for NaN, infinities and text that is not valid Unicode, `TypeError` for what is not JSON.
    """
    return _ENCODER.encode(value).encode()


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of `data`, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """The SHA-256 of a JSON value's canonical form."""
    return sha256_hex(canonical_json(value))
