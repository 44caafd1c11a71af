"""Raw outputs by the SHA-256 of their content. Rows and events hold references only (X-11, R4-06)."""

from collections import OrderedDict
from typing import Any

from sqlalchemy import select

from orchestrator.contracts.errors import Invalid, NotFound
from orchestrator.kernel.canonical import sha256_hex
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.storage.bulk import insert_rows
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import blobs
from orchestrator.storage.settings import StorageSettings

_REMEMBERED = 4096


class Blobs:
    """A content-addressed store in a database of its own, so that no raw output is ever in the main one."""

    def __init__(self, store: Store, settings: StorageSettings, clock: Clock) -> None:
        self._store = store
        self._max = settings.blob_max_bytes
        self._clock = clock
        self._known: OrderedDict[str, None] = OrderedDict()

    async def put(self, data: bytes) -> str:
        """Keep `data`; its reference, once it is on disk. Keeping equal content twice costs nothing."""
        return (await self.put_all(data))[0]

    async def put_all(self, *contents: bytes) -> list[str]:
        """`put`, of several in one transaction."""
        refs = [sha256_hex(data) for data in contents]
        now = rfc3339(self._clock.now())
        rows = [
            {"sha256": ref, "size": len(data), "created_at": now, "data": data}
            for ref, data in zip(refs, contents, strict=True)
            if ref not in self._known
        ]
        largest = max(len(data) for data in contents)
        if largest > self._max:
            raise Invalid(f"{largest} bytes are more than one blob may have ({self._max})", code="too_large")
        if rows:
            await self._store.submit(None, (_keep, rows))
            self._remember(refs)
        return refs

    async def get(self, ref: str) -> bytes:
        """The content behind a reference. Raises `NotFound`."""
        found = await self._store.read(
            lambda tx: tx.execute(select(blobs.c.data).where(blobs.c.sha256 == ref)).scalar()
        )
        if found is None:
            raise NotFound(f"no blob {ref}")
        return bytes(found)

    async def close(self) -> None:
        await self._store.close()

    def _remember(self, refs: list[str]) -> None:
        self._known.update(dict.fromkeys(refs))
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def _keep(tx: Tx, items: list[list[dict[str, Any]]]) -> None:
    insert_rows(tx, blobs, [row for rows in items for row in rows], ignore_known=True)
