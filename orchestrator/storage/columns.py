"""What the columns of all tables are made of: times, ids, numbers that grow, texts of a fixed set."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, MetaData, String
from sqlalchemy.ext.compiler import compiles

METADATA = MetaData()
BLOB_METADATA = MetaData()
BLOBS = "blobs"

Time = String(24)
"""RFC 3339, UTC, milliseconds: sorts as text."""
Id = String(36)
Seq = BigInteger().with_variant(Integer, "sqlite")
"""A number that only grows: 64 bits on both, and on SQLite the row's own number."""


@compiles(String, "postgresql")
def _text(_type: String, _compiler: Any, *, type_expression: Any = None, **_: Any) -> str:
    """Text without a bound, ordered by its bytes, as SQLite has it: how long a thing may be is for models to say."""
    return 'TEXT COLLATE "C"' if isinstance(type_expression, Column) else "TEXT"


def one_of(column: str, values: Sequence[str]) -> CheckConstraint:
    """A column that has one of these texts."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=f"{column}_known")
