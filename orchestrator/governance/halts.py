"""The halt: nothing new is admitted for execution, across restarts, until a person ends it with a reason (X-13).

What runs comes to its end; reading, approving, rejecting, cancelling and the audit go on. Whoever begins something new
asks `check` first.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.errors import Conflict, Forbidden, Unavailable
from orchestrator.contracts.incidents import HaltView
from orchestrator.kernel.ids import new_id
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import halts

_RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Halt:
    """Why nothing new begins."""

    id: str
    time: str
    kind: str
    reason: str
    halted_by: str


class Halts:
    """Whether this store's daemon is halted; kept in memory, since every query asks."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self.current: Halt | None = None

    async def open(self) -> None:
        """Find out whether an earlier daemon was halted."""
        self.current = await self._store.read(_current)

    def check(self) -> None:
        """Raise `Unavailable` (`halted`) while nothing new may begin."""
        if self.current is not None:
            raise Unavailable(
                f"halted since {self.current.time} ({self.current.kind}): {self.current.reason}", code="halted",
                retry_after_s=_RETRY_S,
            )  # fmt: skip

    def view(self) -> HaltView:
        """The state, for people."""
        halt = self.current
        if halt is None:
            return HaltView(halted=False)
        return HaltView(halted=True, kind=halt.kind, reason=halt.reason, time=halt.time, halted_by=halt.halted_by)

    async def halt(self, reason: str, kind: str, by: str = "daemon") -> HaltView:
        """Admit nothing new from now on; halted twice is halted once, and the first reason stands."""

        def work(tx: Tx) -> tuple[Halt, list[Entry]]:
            if (halted := _current(tx)) is not None:
                return halted, []
            made = Halt(new_id(), self._store.now(tx), kind, reason[:2000], by)
            row = {"id": made.id, "time": made.time, "kind": kind, "reason": made.reason, "halted_by": by}
            tx.execute(insert(halts), row)
            return made, [Entry("system.halted", made.id, by, kind, {"kind": kind, "reason": made.reason})]

        self.current = await self._journal.write(work)
        return self.view()

    async def resume(self, reason: str, caller: Caller) -> HaltView:
        """Admit what is new again. Raises `Forbidden` for all but persons, `Conflict` where nothing is halted."""
        if caller.kind != "person":
            raise Forbidden("only a person can end a halt", code="person_required")

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            halted = _current(tx)
            if halted is None:
                raise Conflict("nothing is halted", extra={"state": "running"})
            ended = {"resumed_at": self._store.now(tx), "resumed_by": caller.owner, "resume_reason": reason}
            tx.execute(update(halts).where(halts.c.id == halted.id).values(**ended))
            data = {"kind": halted.kind, "halted_for": halted.reason, "reason": reason}
            return None, [Entry("system.resumed", halted.id, caller.owner, "resumed", data)]

        await self._journal.write(work)
        self.current = None
        return self.view()


def _current(tx: Tx) -> Halt | None:
    query = select(halts).where(halts.c.resumed_at.is_(None)).order_by(halts.c.id).limit(1)
    row: Any = tx.execute(query).mappings().first()
    return None if row is None else Halt(*(row[name] for name in ("id", "time", "kind", "reason", "halted_by")))
