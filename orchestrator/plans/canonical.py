"""One byte string for one JSON value, by RFC 8785 (JCS), and its digest: what approvals of plans are bound to.

`kernel.canonical` does as much for the daemon's own values. A plan comes from outside: there `1` and `1.0` are one
number, members are ordered as JavaScript orders them, and another program must be able to compute the same digest.
"""

from typing import Any

import rfc8785

from orchestrator.kernel.canonical import sha256_hex


def canonical(value: Any) -> bytes:
    """The value's canonical text. Raises `ValueError` for what is not I-JSON: NaN, large integers, half characters."""
    try:
        return rfc8785.dumps(value)
    except RecursionError:
        raise ValueError("the value is nested too deep") from None


def digest(value: Any) -> str:
    """The SHA-256 of the canonical text, 64 lower-case hexadecimal digits."""
    return sha256_hex(canonical(value))
