"""What time it is for the store: deadlines that rows carry are judged by it, in the transaction that acts on them.

Section 3.3 of the requirements: the server's own clock on PostgreSQL, so that machines whose clocks differ agree; a
bound parameter elsewhere; a fake in tests.
"""

from collections.abc import Callable

from sqlalchemy import func, select

from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.storage.port import Tx

Now = Callable[[Tx], str]


def of(clock: Clock) -> Now:
    """The time of a clock of this process."""
    return lambda tx: rfc3339(clock.now())


def of_server(tx: Tx) -> str:
    """The time of the database server, moving on within a transaction."""
    return rfc3339(tx.execute(select(func.clock_timestamp())).scalar_one())
