"""The hash chain: each audit row's hash covers all its fields and the hash before it. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import pydantic_core

from orchestrator.kernel.canonical import sha256_hex

GENESIS = "0" * 64
FIELDS = ("seq", "time", "actor", "action", "subject", "outcome", "approval_id", "data")


def link(row: Mapping[str, Any], prev_hash: str) -> str:
    """The hash of a row that follows `prev_hash`: over that and the JSON list of its fields, `data` as stored text."""
    return sha256_hex(prev_hash.encode() + pydantic_core.to_json([row[name] for name in FIELDS]))


def first_bad(rows: Iterable[Any], prev_hash: str = GENESIS, seq: int = 1) -> tuple[int | None, str, int]:
    """Walk rows in order. Answers the first row's `seq` that does not follow, or None; the last hash; the next seq."""
    for row in rows:
        if row["seq"] != seq or row["prev_hash"] != prev_hash or row["hash"] != link(row, prev_hash):
            return seq, prev_hash, seq
        prev_hash, seq = row["hash"], seq + 1
    return None, prev_hash, seq
