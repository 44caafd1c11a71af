"""How fast the audit's chain is verified, against bare SHA-256 over the same bytes (REQUIREMENTS 3.2).

Counted in the processor's time, so that neighbours do not count.
"""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pydantic_core
from sqlalchemy import create_engine, select
from sqlalchemy.pool import StaticPool

from orchestrator.audit import chain
from orchestrator.kernel.canonical import sha256_hex
from orchestrator.kernel.ids import new_id
from orchestrator.storage.schema import audit

ROWS = 50_000
BAR = 0.1
"""The least ratio to bare SHA-256: reading a row and making its JSON cost more than its hash."""


def rows(count: int) -> list[dict[str, Any]]:
    """Rows such as a query leaves."""
    made, prev = [], chain.GENESIS
    for seq in range(1, count + 1):
        row: dict[str, Any] = {
            "seq": seq, "time": "2026-01-01T00:00:00.000Z", "actor": "loopback", "action": "query.completed",
            "subject": new_id(), "outcome": "ok", "approval_id": new_id(),
            "data": f'{{"plugin":"echo","answer_ref":"{"a" * 64}"}}', "prev_hash": prev,
        }  # fmt: skip
        row["hash"] = prev = chain.link(row, prev)
        made.append(row)
    return made


async def measure(count: int = ROWS) -> AsyncIterator[str]:
    """Lines of the table, as they are known."""
    made = rows(count)
    bodies = [row["prev_hash"].encode() + pydantic_core.to_json([row[name] for name in chain.FIELDS]) for row in made]
    begin = time.process_time()
    for body in bodies:
        sha256_hex(body)
    bare = count / (time.process_time() - begin)
    with TemporaryDirectory() as folder:
        verified = count / _walk(Path(folder), made)
    yield f"audit, {count} rows of {sum(map(len, bodies)) // count} bytes         a second of the processor"
    yield f"  bare SHA-256                       {bare:12,.0f}"
    yield f"  read from SQLite and verified      {verified:12,.0f}   {verified / bare:.2f} x (bar {BAR})"


def _walk(folder: Path, made: list[dict[str, Any]]) -> float:
    engine = create_engine(f"sqlite:///{folder}/audit.db", poolclass=StaticPool)
    try:
        audit.create(engine)
        with engine.begin() as connection:
            connection.execute(audit.insert(), made)
        query = select(*(audit.c[name] for name in chain.COLUMNS)).order_by(audit.c.seq)
        with engine.connect() as connection:
            begin = time.process_time()
            bad, _, following = chain.first_bad(connection.execute(query).all())
            took = time.process_time() - begin
        assert (bad, following) == (None, len(made) + 1)
        return took
    finally:
        engine.dispose()
