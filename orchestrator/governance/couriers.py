"""Bringing events to webhooks, one courier for each: in order, at least once, and never in anybody's way.

A delivery that fails is tried again with longer and longer waits. After a bound the event is given up, and the receiver
left alone for a while, since it is down: the next ones wait in the log.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import RowMapping, insert, select, update

from orchestrator.audit.entries import Entry
from orchestrator.audit.journal import Journal
from orchestrator.contracts.errors import OrchestratorError
from orchestrator.contracts.webhooks import DELIVERY, SIGNATURE, WEBHOOK
from orchestrator.governance import webhooks as hooks
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.kernel.clock import Clock, later
from orchestrator.kernel.tasks import Supervisor
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import dead_letters, events, webhooks

log = structlog.get_logger("webhooks")
Post = Callable[[str, dict[str, str], bytes], Awaitable[str | None]]
"""`post(url, headers, body)`: None where the receiver has taken it, else why not, in a few words. Never raises."""
_BLOCK = 500
_LONGEST_WAIT_S = 3600.0
_AGAIN_S = 1.0


class Couriers:
    """A task for each webhook, for as long as the daemon runs."""

    def __init__(
        self, store: Store, journal: Journal, post: Post, base: str, clock: Clock, supervisor: Supervisor,
        settings: GovernanceSettings,
    ) -> None:  # fmt: skip
        self._store = store
        self._journal = journal
        self._post = post
        self._base = base
        self._clock = clock
        self._supervisor = supervisor
        self._settings = settings
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def open(self) -> None:
        """Go on where the last daemon was."""
        for webhook_id in await self._store.read(lambda tx: list(tx.execute(select(webhooks.c.id)).scalars())):
            self.start(webhook_id)

    async def close(self) -> None:
        """Bring nothing anywhere any more; what was not settled is brought by the next daemon."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, webhook_id: str) -> None:
        """Bring events to a webhook from now on."""
        self._tasks[webhook_id] = self._supervisor.child(f"webhook {webhook_id}", self._keep_going(webhook_id))

    def stop(self, webhook_id: str) -> None:
        """Bring nothing there any more."""
        if (task := self._tasks.pop(webhook_id, None)) is not None:
            task.cancel()

    async def _keep_going(self, webhook_id: str) -> None:
        while True:
            advanced = self._journal.advanced
            try:
                wait_s = await self._round(webhook_id)
            except OrchestratorError as fault:
                log.warning("webhook.waits_for_the_store", webhook=webhook_id, reason=fault.detail)
                wait_s = _AGAIN_S
            except Exception as defect:  # of ours: whatever it is, this webhook is not forgotten for that
                log.error("webhook.broke", webhook=webhook_id, exc_info=defect)
                wait_s = self._settings.webhook_rest_s
            if wait_s is None:
                await advanced.wait()
            else:
                await asyncio.sleep(wait_s)

    async def _round(self, webhook_id: str) -> float | None:
        """Look once, and deliver what is next; how long to wait then, None until there is something new."""

        def work(tx: Tx) -> tuple[RowMapping | None, list[RowMapping], str]:
            row = tx.execute(select(webhooks).where(webhooks.c.id == webhook_id)).mappings().first()
            after = 0 if row is None else row["cursor"]
            query = select(events).where(events.c.seq > after).order_by(events.c.seq).limit(_BLOCK)
            return row, list(tx.execute(query).mappings()), self._store.now(tx)

        row, block, now = await self._store.read(work)
        if row is None:
            return _LONGEST_WAIT_S  # it was deleted, and this task is about to be ended
        if row["next_at"] is not None and (left := _seconds(now, row["next_at"])) > 0:
            return min(left, _LONGEST_WAIT_S)
        event = next((one for one in block if hooks.wanted(row, one["topic"])), None)
        if event is not None:
            await self._deliver(row, event)
            return 0.0
        if len(block) < _BLOCK:
            return None
        await self._store.write(lambda tx: hooks.settle(tx, webhook_id, block[-1]["seq"]))
        return 0.0

    async def _deliver(self, row: RowMapping, event: RowMapping) -> None:
        body = hooks.message(event, self._base)
        seconds = int(self._clock.now().timestamp())
        headers = {
            "Content-Type": "application/json", SIGNATURE: hooks.signature(row["secret"], seconds, body),
            DELIVERY: event["id"], WEBHOOK: row["id"],
        }  # fmt: skip
        fault = await self._post(row["url"], headers, body)
        await self._journal.write(lambda tx: (None, self._settled(tx, row, event, fault)))

    def _settled(self, tx: Tx, row: RowMapping, event: RowMapping, fault: str | None) -> list[Entry]:
        now, attempts = self._store.now(tx), row["attempts"] + 1
        if fault is None:
            fine = {"attempts": 0, "next_at": None, "fault": None, "delivered": webhooks.c.delivered + 1}
            hooks.settle(tx, row["id"], event["seq"], **fine)
            return []
        fault = fault[:500]
        if attempts < self._settings.webhook_attempts:
            wait_s = min(self._settings.webhook_retry_s * 2 ** (attempts - 1), _LONGEST_WAIT_S)
            again = {"attempts": attempts, "next_at": later(now, wait_s), "fault": fault}
            tx.execute(update(webhooks).where(webhooks.c.id == row["id"]).values(**again))
            return []
        rest = {"attempts": 0, "next_at": later(now, self._settings.webhook_rest_s), "fault": fault}
        if not hooks.settle(tx, row["id"], event["seq"], **rest):
            return []
        tx.execute(insert(dead_letters), {"webhook_id": row["id"], "seq": event["seq"], "time": now, "fault": fault})
        data = {"seq": event["seq"], "topic": event["topic"], "attempts": attempts, "fault": fault}
        return [Entry("webhook.given_up", row["id"], "daemon", "failed", data)]


def _seconds(now: str, then: str) -> float:
    return (datetime.fromisoformat(then) - datetime.fromisoformat(now)).total_seconds()
