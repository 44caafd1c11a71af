"""The hash chain: each audit row's hash covers all its fields and the hash before it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import pydantic_core

GENESIS = "0" * 64
FIELDS = ("seq", "time", "actor", "action", "subject", "outcome", "approval_id", "data")
COLUMNS = (*FIELDS, "prev_hash", "hash")
"""In which order a walk wants them: looked up by name, a row would cost more than its hash."""
_COVERED = len(FIELDS)


def link(row: Mapping[str, Any], prev_hash: str) -> str:
    """The hash of a row that follows `prev_hash`: over that and the JSON list of its fields, `data` as stored text."""
    return _hash([row[name] for name in FIELDS], prev_hash)


def first_bad(
    rows: Iterable[Sequence[Any]], prev_hash: str = GENESIS, seq: int = 1, anchors: Mapping[int, str] | None = None
) -> tuple[int | None, str, int]:
    """Walk rows of `COLUMNS` in order, against the hashes that some of them are known to have by their numbers.

    Answers the first row's `seq` that does not follow, or None; the last hash; the next seq.
    """
    known = anchors or {}
    for row in rows:
        digest = _hash(row[:_COVERED], prev_hash)
        if row[0] != seq or row[8] != prev_hash or row[9] != digest or known.get(seq, digest) != digest:
            return seq, prev_hash, seq
        prev_hash, seq = digest, seq + 1
    return None, prev_hash, seq


def _hash(fields: Sequence[Any], prev_hash: str) -> str:
    return sha256(prev_hash.encode() + pydantic_core.to_json(fields)).hexdigest()
