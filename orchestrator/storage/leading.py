"""One daemon leads a PostgreSQL database (R0-03, X-24).

It holds a lock for as long as its writer's session lives, so that a lost connection is lost leadership: its transaction
ends with it, and the lock is to be won again. Each leader counts one term. One that wins the lock again and finds a
later term than its own knows that its memory of keys, grants and identities is of the past.
"""

import os
import socket

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, func, insert, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from orchestrator.contracts.errors import StartRefused

_LEADER, _WRITER = 0x6F72_6368_0001, 0x6F72_6368_0002
"""Keys of advisory locks: for the writer's session, and for each transaction that writes."""
_SCHEMA = "leader"
_METADATA = MetaData()
_TERMS = Table(
    "terms",
    _METADATA,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    Column("began_at", String(40), nullable=False),
    Column("by", String(300), nullable=False),
    schema=_SCHEMA,
)


class Deposed(Exception):
    """Another daemon has led since this one did: it must end, for what it knows is old."""


def take(connection: Connection) -> None:
    """Win the leader's lock for the session, waiting as long as its `lock_timeout`. Raises `StartRefused`."""
    try:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({_LEADER})")
        connection.commit()
    except DBAPIError as fault:
        connection.rollback()
        if getattr(fault.orig, "sqlstate", None) != "55P03":  # lock_not_available
            raise
        raise StartRefused(f"the database is in use by another daemon ({_holder(connection)})") from None


def begin_term(connection: Connection) -> int:
    """The number of a new term, written within the connection's transaction."""
    if not inspect(connection).has_schema(_SCHEMA):
        connection.execute(CreateSchema(_SCHEMA))
    _METADATA.create_all(connection)
    term = _latest(connection) + 1
    began = connection.execute(select(func.clock_timestamp())).scalar_one().isoformat()
    connection.execute(insert(_TERMS), {"term": term, "began_at": began, "by": f"{socket.gethostname()} {os.getpid()}"})
    return term


def check(connection: Connection, term: int) -> None:
    """Raise `Deposed` where a later term than ours has begun."""
    latest = _latest(connection)
    connection.commit()
    if latest != term:
        raise Deposed("another daemon has led this database since: restart this one")


def begin_writing(connection: Connection) -> None:
    """The first statement of each transaction that writes: one order for events and audit, whoever else writes."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER})")


def _latest(connection: Connection) -> int:
    return connection.execute(select(func.max(_TERMS.c.term))).scalar() or 0


def _holder(connection: Connection) -> str:
    """Whom the server knows of the one that holds the lock: its program's name carries the process."""
    row = connection.exec_driver_sql(
        "SELECT application_name, client_addr FROM pg_stat_activity JOIN pg_locks USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND classid::bigint = $1 AND objid::bigint = $2",
        divmod(_LEADER, 2**32),
    ).first()
    if row is None or not row[0].startswith("orchestrator "):
        return "unknown"
    return f"process {row[0].split()[-1]}" + (f" at {row[1]}" if row[1] else "")
