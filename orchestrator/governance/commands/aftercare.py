"""Carrying out what a decision left to do: effects are undone or released, each by a hook of the plugin that made them.

The rows are the outbox: what is due is done by this daemon or the next. To undo is tried again until it succeeds or has
failed for good; to release is tried once, since nobody can take it back. What does not succeed is an incident.
"""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pydantic_core
import structlog
from sqlalchemy import RowMapping, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.bus.port import Bus
from orchestrator.contracts.callers import Caller
from orchestrator.contracts.errors import OrchestratorError, TooMany, Unavailable
from orchestrator.governance.commands import records
from orchestrator.governance.halts import Halts
from orchestrator.governance.permits import PermitOffice
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.host.calls import HANDLE, Call, HandleMessage
from orchestrator.host.host import Host
from orchestrator.kernel.clock import Clock, later
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import effects

log = structlog.get_logger("commands")
_OFTEN_S, _SELDOM_S, _AGAIN_S = 0.2, 5.0, 1.0
_MOST_ATTEMPTS = 5
_LONGEST_S = 3600.0
_PAST = {"compensated": "undone", "deferred": "released"}


class Aftercare:
    """Looks after effects for as long as the daemon runs."""

    def __init__(
        self, store: Store, journal: Journal, blobs: Blobs, bus: Bus, host: Host, office: PermitOffice, halts: Halts,
        clock: Clock, settings: GovernanceSettings,
    ) -> None:  # fmt: skip
        self._store = store
        self._journal = journal
        self._blobs = blobs
        self._bus = bus
        self._host = host
        self._office = office
        self._halts = halts
        self._clock = clock
        self._settings = settings
        self._due = asyncio.Event()

    def wake(self) -> None:
        """Something is due."""
        self._due.set()

    async def open(self) -> None:
        """What a dead daemon was at: to undo goes on; what was being released may have been, and a person must look."""

        def work(tx: Tx) -> tuple[None, list[Entry]]:
            now, told = self._store.now(tx), []
            rows = tx.execute(select(effects).where(effects.c.state == "doing")).mappings().all()
            for row in rows:
                if row["kind"] == "compensated":
                    _set(tx, row, state="due", next_at=now)
                else:
                    told += self._given_up(tx, row, "the daemon died while it was released: it may have been", now)
            return None, told

        await self._journal.write(work)

    async def keep_going(self) -> None:
        """Do what is due, for ever."""
        while True:
            try:
                waits = await self._do_what_is_due()
            except OrchestratorError as fault:
                log.warning("commands.effects_not_looked_after", reason=fault.detail)
                waits = True
            try:
                async with asyncio.timeout(_OFTEN_S if waits else _SELDOM_S):
                    await self._due.wait()
            except TimeoutError:
                continue
            self._due.clear()

    async def _do_what_is_due(self) -> bool:
        """Those of one command in the reverse of their order, commands beside each other; whether any are left."""

        def work(tx: Tx) -> tuple[Sequence[RowMapping], str]:
            c = effects.c
            query = select(effects).where(c.state == "due").order_by(c.command_id, c.id.desc()).limit(1000)
            return tx.execute(query).mappings().all(), self._store.now(tx)

        rows, now = await self._store.read(work)
        halted = self._halts.current is not None
        ready = [row for row in rows if row["next_at"] <= now and not (halted and row["kind"] == "deferred")]
        by_command = [list(group) for _, group in groupby(ready, key=lambda row: row["command_id"])]
        await asyncio.gather(*(self._in_turn(group) for group in by_command))
        return bool(rows)

    async def _in_turn(self, rows: list[RowMapping]) -> None:
        for row in rows:
            await self._do(row)

    async def _do(self, row: RowMapping) -> None:
        await self._store.write(lambda tx: _set(tx, row, state="doing", attempts=row["attempts"] + 1))
        fault: OrchestratorError | None = None
        try:
            await self._call(row)
        except OrchestratorError as failed:
            fault = failed
        except Exception as defect:  # of ours: whatever it is, the other effects are looked after all the same
            log.error("commands.effect_broke", effect=row["id"], exc_info=defect)
            fault = OrchestratorError("a defect of the daemon; its log says more")
        while True:  # what was done is not done again because the store was away just then
            try:
                return await self._journal.write(lambda tx: (None, self._ended(tx, row, fault)))
            except Unavailable as away:
                log.warning("commands.effect_not_written", effect=row["id"], reason=away.detail)
                await asyncio.sleep(_AGAIN_S)

    async def _call(self, row: RowMapping) -> None:
        command = await self._store.read(lambda tx: records.load(tx, row["command_id"]))
        request = pydantic_core.from_json(await self._blobs.get(row["request_ref"]))
        request["output"] = None
        if row["output_ref"] is not None:
            request["output"] = pydantic_core.from_json(await self._blobs.get(row["output_ref"]))
        entry = self._host.table().get(row["tool"])
        undo = row["kind"] == "compensated"
        # What was approved is what is released. Undoing is the plugin's newest version's to do, if that one can.
        permit_for = entry.capability if undo and entry is not None else row["permit_for"]
        caller = Caller(command["identity_id"], "person", frozenset(), source="daemon")
        permit = self._office.issue(permit_for, row["id"], caller, "approval", row["approval_id"], row["person"])
        call = Call(row["id"], caller, permit, self._clock.monotonic() + _LONGEST_S)
        message = HandleMessage(row["tool"], {**request, "id": row["id"]}, call, "undo" if undo else "release")
        await self._bus.ask(HANDLE, message)

    def _ended(self, tx: Tx, row: RowMapping, fault: OrchestratorError | None) -> list[Entry]:
        now, tries = self._store.now(tx), row["attempts"] + 1
        if fault is None:
            _set(tx, row, state="done", fault=None)
            return [self._told(tx, row, f"command.effect_{_PAST[row['kind']]}", "ok")]
        not_begun = isinstance(fault, Unavailable | TooMany)
        if (row["kind"] == "compensated" or not_begun) and tries < _MOST_ATTEMPTS:
            wait_s = self._settings.undo_retry_s * 2 ** (tries - 1)
            _set(tx, row, state="due", next_at=later(now, wait_s), fault=fault.detail[:2000])
            return [self._told(tx, row, "command.effect_retried", fault.code, error=fault.detail)]
        return self._given_up(tx, row, fault.detail, now)

    def _given_up(self, tx: Tx, row: RowMapping, why: str, now: str) -> list[Entry]:
        _set(tx, row, state="failed", fault=why[:2000])
        command, past = records.load(tx, row["command_id"]), _PAST[row["kind"]]
        told = f"what step {row['step_index']} did by {row['tool']} could not be {past}: {why}"
        failed = self._told(tx, row, "command.effect_failed", "failed", error=why)
        return [failed, records.violation(tx, command, f"effect_not_{past}", told, now)]

    def _told(self, tx: Tx, row: RowMapping, topic: str, outcome: str, **more: Any) -> Entry:
        about = {"metadata": {"stepIndex": row["step_index"]}, "tool": row["tool"], "effect": row["id"]}
        command = records.load(tx, row["command_id"])
        return records.event(command, topic, "daemon", outcome, approval_id=row["approval_id"], **about, **more)


def _set(tx: Tx, row: RowMapping, **values: Any) -> None:
    tx.execute(update(effects).where(effects.c.id == row["id"]).values(**values))
