"""Reaching a PostgreSQL server: connections that are set as the store needs them, and what stands in the way.

The driver reads the address itself, as PostgreSQL's own programs do: `sslmode`, several hosts, PGPASSWORD, ~/.pgpass.
No message made here holds any part of the address, for a password is in it.
"""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from orchestrator.contracts.errors import Invalid, OrchestratorError, StartRefused
from orchestrator.storage.settings import StorageSettings

T = TypeVar("T")
OLDEST = 13
"""The oldest major version of PostgreSQL that its makers still mended when this was written."""
FAULTS = (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What connecting may raise."""
_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, special characters as %XX"
_SESSION = {
    "TimeZone": "UTC",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",  # what was committed while we waited for a lock is to be seen
    "jit": "off",  # costs more than it saves for statements this small
    "tcp_keepalives_idle": "10",  # the server, too, finds out that a daemon's machine is gone, and frees its locks
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself. `version` is PostgreSQL's number: 150018 for 15.18."""

    version: int
    encoding: str
    standby: bool
    may_create: bool


def engine(settings: StorageSettings, *, readers: int = 0, patient: bool = False) -> AsyncEngine:
    """With `readers` a pool of so many connections that cannot write, else one connection at each `connect`.

    `patient` ones wait for a statement however long it takes.
    """
    session = {
        **_SESSION,
        "application_name": f"orchestrator {os.getpid()}",
        "lock_timeout": str(max(1, settings.busy_timeout_ms)),
        "default_transaction_read_only": "on" if readers else "off",
    }

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(
            settings.url.get_secret_value(),
            timeout=settings.silence_ms / 1000,
            command_timeout=None if patient else settings.silence_ms / 1000,
            server_settings=session,
        )

    address = "postgresql+asyncpg://"
    if not readers:
        return create_async_engine(address, async_creator=connect, poolclass=NullPool)
    return create_async_engine(
        address,
        async_creator=connect,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=readers,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
    )


def facts(connection: Connection) -> Facts:
    """Ask the server."""
    row = connection.exec_driver_sql(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), pg_is_in_recovery(),"
        " has_database_privilege(current_database(), 'CREATE')"
    ).one()
    return Facts(*row)


def unfit(found: Facts) -> str | None:
    """Why the store cannot live on such a server, and what would mend it; None if it can. Pure."""
    if found.version < OLDEST * 10_000:
        return f"the server is PostgreSQL {found.version // 10_000}: version {OLDEST} or newer is needed"
    if found.encoding != "UTF8":
        mend = "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        return f"the database is encoded in {found.encoding}: make another one with {mend}"
    if found.standby:
        return "the server is a standby, and cannot be written: name the primary in storage.url"
    if not found.may_create:
        return "the user may not create in the database: make it the owner, ALTER DATABASE … OWNER TO …"
    return None


async def look(settings: StorageSettings) -> str:
    """The server, in words, if the store can live there. Raises `StartRefused` with what would mend it."""
    looking = engine(settings)
    try:
        async with looking.connect() as connection:
            found = await connection.run_sync(facts)
    except (DBAPIError, *FAULTS) as fault:
        raise refusal(fault) from None
    finally:
        await looking.dispose()
    if why := unfit(found):
        raise StartRefused(why)
    return "PostgreSQL {}.{}".format(*divmod(found.version, 10_000))


async def look_into(settings: StorageSettings, work: Callable[[Connection], T]) -> T:
    """What `work` reads in one snapshot that cannot be written. Raises `StartRefused`."""
    looking = engine(settings)
    try:
        async with looking.connect() as connection:
            await connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return await connection.run_sync(work)
    except (DBAPIError, *FAULTS) as fault:
        raise refusal(fault) from None
    finally:
        await looking.dispose()


def reason(fault: BaseException) -> str:
    """What a fault says, without anything that could be of the address."""
    if isinstance(fault, OrchestratorError):
        return fault.detail
    if isinstance(fault, DBAPIError) and fault.orig is not None:
        fault = fault.orig.__cause__ or fault.orig
    if isinstance(fault, asyncpg.PostgresError):
        return str(fault.args[0]) if fault.args else type(fault).__name__
    if isinstance(fault, TimeoutError):
        return "no answer in time"
    if isinstance(fault, socket.gaierror):
        return "no such host"
    if isinstance(fault, OSError | asyncpg.InterfaceError):
        return os.strerror(fault.errno) if isinstance(fault, OSError) and fault.errno else "the connection is lost"
    return type(fault).__name__


def of_input(fault: BaseException | None) -> Invalid | None:
    """The caller's own fault, where a text was handed over that no PostgreSQL database can hold."""
    cause = fault.orig.__cause__ if isinstance(fault, DBAPIError) and fault.orig is not None else None
    if isinstance(cause, asyncpg.CharacterNotInRepertoireError):
        return Invalid("a text with a NUL character cannot be kept")
    return None


def refusal(fault: BaseException) -> StartRefused:
    """Why the store cannot be opened, and what would mend it."""
    told = reason(fault)
    if isinstance(fault, DBAPIError) and fault.orig is not None:
        fault = fault.orig.__cause__ or fault.orig
    return StartRefused(f"PostgreSQL, as storage.url names it: {_advice(fault, told)}")


def _advice(fault: BaseException, told: str) -> str:
    match fault:
        case asyncpg.InvalidAuthorizationSpecificationError():  # a wrong password as well
            return f"{told}: give user and password in storage.url, PGPASSWORD or ~/.pgpass, and look at pg_hba.conf"
        case asyncpg.InvalidCatalogNameError():
            return f"{told}: make it with createdb"
        case asyncpg.InsufficientPrivilegeError():
            return f"{told}: make the user the owner of the database, ALTER DATABASE … OWNER TO …"
        case asyncpg.PostgresError():
            return told
        case OSError() | TimeoutError():
            return f"the server is not reached ({told}): start it, or mend storage.url"
        case _:
            return f"no address that can be understood: {_FORM}"
