"""Raw outputs by the SHA-256 of their content. Rows and events hold references only (X-11, R4-06)."""

from typing import Any

from sqlalchemy import select

from orchestrator.contracts.errors import Invalid, NotFound
from orchestrator.kernel.canonical import sha256_hex
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.storage.bulk import insert_rows
from orchestrator.storage.port import Part, Store, Tx
from orchestrator.storage.schema import blobs
from orchestrator.storage.settings import StorageSettings


class Blobs:
    """A content-addressed store. Equal content is kept once."""

    def __init__(self, store: Store, settings: StorageSettings, clock: Clock) -> None:
        self._store = store
        self._max = settings.blob_max_bytes
        self._clock = clock

    def part(self, *contents: bytes) -> tuple[list[str], Part]:
        """References, and the part of a transaction that keeps the contents. Raises `Invalid` (`too_large`)."""
        largest = max(map(len, contents))
        if largest > self._max:
            raise Invalid(f"{largest} bytes are more than one blob may have ({self._max})", code="too_large")
        now = rfc3339(self._clock.now())
        refs = [sha256_hex(data) for data in contents]
        rows = [
            {"sha256": ref, "size": len(data), "created_at": now, "data": data}
            for ref, data in zip(refs, contents, strict=True)
        ]
        return refs, (_keep, rows)

    async def put(self, data: bytes) -> str:
        """Keep `data` in a transaction of its own; its reference, once it is on disk."""
        (ref,), part = self.part(data)
        await self._store.submit(None, part)
        return ref

    async def get(self, ref: str) -> bytes:
        """The content behind a reference. Raises `NotFound`."""
        found = await self.find(ref)
        if found is None:
            raise NotFound(f"no blob {ref}")
        return found

    async def find(self, ref: str) -> bytes | None:
        """The content behind a reference; None where nothing is kept, as of a history from elsewhere."""
        query = select(blobs.c.data).where(blobs.c.sha256 == ref)
        found = await self._store.read(lambda tx: tx.execute(query).scalar())
        return None if found is None else bytes(found)


def _keep(tx: Tx, items: list[list[dict[str, Any]]]) -> None:
    insert_rows(tx, blobs, [row for rows in items for row in rows], ignore_known=True)
