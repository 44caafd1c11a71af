"""Many rows by one statement.

SQLite's driver lets go of the interpreter lock at each step of a statement and has to win it back from the event loop;
one statement for all rows is one step. To a PostgreSQL server it is one round trip.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import pydantic_core
from sqlalchemy import JSON, Table

from orchestrator.storage.port import Tx

_MOST_VARIABLES = 30_000
"""SQLite takes 32,766 in one statement."""
_UNLESS_KNOWN = " ON CONFLICT DO NOTHING"


def insert_rows(tx: Tx, table: Table, rows: Sequence[dict[str, Any]], *, ignore_known: bool = False) -> None:
    """Insert rows, all with the same columns. `ignore_known` passes over rows whose key is there already."""
    if not rows:
        return
    names = tuple(rows[0])
    as_json = frozenset(name for name in names if isinstance(table.c[name].type, JSON))
    columns = [
        [pydantic_core.to_json(row[name]).decode() for row in rows] if name in as_json else [row[name] for row in rows]
        for name in names
    ]
    if tx.dialect.name == "postgresql":
        types = tuple(table.c[name].type.compile(dialect=tx.dialect) for name in names)
        tx.exec_driver_sql(_of_columns(table.fullname, names, types, ignore_known), tuple(columns))
        return
    at_once = max(1, _MOST_VARIABLES // len(names))
    for start in range(0, len(rows), at_once):
        chunk = [column[start : start + at_once] for column in columns]
        values = tuple(chain.from_iterable(zip(*chunk, strict=True)))
        tx.exec_driver_sql(_of_rows(table.fullname, names, len(chunk[0]), ignore_known), values)


@lru_cache(maxsize=4096)
def _of_rows(table: str, names: tuple[str, ...], rows: int, ignore_known: bool) -> str:
    """All names come from the schema, none from input."""
    places = ", ".join(["(" + ", ".join("?" * len(names)) + ")"] * rows)
    return f"{_into(table, names)} VALUES {places}{_UNLESS_KNOWN * ignore_known}"


@lru_cache(maxsize=256)
def _of_columns(table: str, names: tuple[str, ...], types: tuple[str, ...], ignore_known: bool) -> str:
    """The same text for any number of rows, so that the server plans it once."""
    arrays = ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(types, 1))
    return f"{_into(table, names)} SELECT * FROM unnest({arrays}){_UNLESS_KNOWN * ignore_known}"  # noqa: S608


def _into(table: str, names: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(names)})"
