"""Many rows by one statement.

The driver lets go of the interpreter lock at each step of a statement and has to win it back from the event loop; one
statement for all rows is one step.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pydantic_core
from sqlalchemy import JSON, Table

from orchestrator.storage.port import Tx

_MOST_VARIABLES = 30_000
"""SQLite takes 32,766 in one statement."""


def insert_rows(tx: Tx, table: Table, rows: Sequence[dict[str, Any]], *, ignore_known: bool = False) -> None:
    """Insert rows, all with the same columns. `ignore_known` passes over rows whose key is there already."""
    if not rows:
        return
    names = tuple(rows[0])
    as_json = frozenset(name for name in names if isinstance(table.c[name].type, JSON))
    at_once = max(1, _MOST_VARIABLES // len(names))
    for start in range(0, len(rows), at_once):
        chunk = rows[start : start + at_once]
        values = tuple(
            pydantic_core.to_json(row[n]).decode() if n in as_json else row[n] for row in chunk for n in names
        )
        tx.exec_driver_sql(_statement(table.fullname, names, len(chunk), ignore_known), values)


@lru_cache(maxsize=4096)
def _statement(table: str, names: tuple[str, ...], rows: int, ignore_known: bool) -> str:
    """All names come from the schema, none from input."""
    verb = "INSERT OR IGNORE" if ignore_known else "INSERT"
    places = ", ".join(["(" + ", ".join("?" * len(names)) + ")"] * rows)
    return f"{verb} INTO {table} ({', '.join(names)}) VALUES {places}"
