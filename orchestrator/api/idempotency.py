"""`Idempotency-Key`: the same request twice does its work once (CONTRACT 1)."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pydantic_core
from aiohttp import web
from sqlalchemy import Executable, delete, insert, select, update

from orchestrator.api.endpoint import Call, Endpoint
from orchestrator.contracts.callers import LOOPBACK
from orchestrator.contracts.errors import Conflict, Invalid
from orchestrator.kernel.canonical import sha256_hex
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.storage.blobs import Blobs
from orchestrator.storage.port import Store, Tx
from orchestrator.storage.schema import idempotency

_KEPT_HEADERS = ("Content-Type", "Location")


class Idempotency:
    """Remembers the answers of admitted POST requests, per key and path."""

    def __init__(self, store: Store, blobs: Blobs, clock: Clock, ttl_s: int) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._ttl = timedelta(seconds=ttl_s)

    async def open(self) -> None:
        """Forget requests that a dead daemon left half done: nobody was answered."""
        await self._execute(delete(idempotency).where(idempotency.c.status.is_(None)))

    async def purge(self) -> None:
        """Forget answers that are too old."""
        await self._execute(delete(idempotency).where(idempotency.c.created_at < self._oldest()))

    async def once(
        self, call: Call, endpoint: Endpoint, raw: bytes, work: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """The remembered answer, or that of `work`, which is then remembered. Raises `Invalid` or `Conflict`."""
        place = _place(call)
        body_hash = sha256_hex(call.request.query_string.encode() + b"\x00" + raw)
        found = await self._store.write(lambda tx: self._claim(tx, place, body_hash))
        if found is not None:
            return await self._replay(found, body_hash)
        kept = False
        try:
            response = await work()
            if isinstance(response, web.Response) and response.status < 400:
                await self._keep(place, response, endpoint)
                kept = True
            return response
        finally:
            if not kept:
                await self._execute(delete(idempotency).where(*_where(place)))

    def _claim(self, tx: Tx, place: dict[str, str], body_hash: str) -> dict[str, Any] | None:
        row = tx.execute(select(idempotency).where(*_where(place))).mappings().first()
        if row is not None and (row["created_at"] >= self._oldest() or row["status"] is None):
            return dict(row)
        tx.execute(delete(idempotency).where(*_where(place)))
        tx.execute(insert(idempotency), {**place, "body_hash": body_hash, "created_at": rfc3339(self._clock.now())})
        return None

    async def _replay(self, row: dict[str, Any], body_hash: str) -> web.Response:
        if row["body_hash"] != body_hash:
            raise Invalid("this Idempotency-Key came with another body before", code="idempotency_mismatch")
        if row["status"] is None:
            raise Conflict("the first request with this Idempotency-Key still runs", code="idempotency_in_flight")
        body = await self._blobs.get(row["answer_ref"])
        return web.Response(status=row["status"], body=body, headers={**row["headers"], "Idempotency-Replayed": "true"})

    async def _keep(self, place: dict[str, str], response: web.Response, endpoint: Endpoint) -> None:
        body = bytes(response.body) if isinstance(response.body, bytes | bytearray) else b""
        if endpoint.secret_members:
            shown = {k: v for k, v in pydantic_core.from_json(body).items() if k not in endpoint.secret_members}
            body = pydantic_core.to_json(shown)
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        values = {"status": response.status, "headers": headers, "answer_ref": await self._blobs.put(body)}
        await self._execute(update(idempotency).where(*_where(place)).values(**values))

    async def _execute(self, statement: Executable) -> None:
        def work(tx: Tx) -> None:
            tx.execute(statement)

        await self._store.write(work)

    def _oldest(self) -> str:
        return rfc3339(self._clock.now() - self._ttl)


def _place(call: Call) -> dict[str, str]:
    key = call.request.headers["Idempotency-Key"]
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise Invalid(
            "Idempotency-Key: 1 to 255 printable ASCII characters",
            errors=[{"loc": ["header", "Idempotency-Key"], "msg": "bad"}],
        )
    return {"space": call.caller.key_id or LOOPBACK, "path": call.request.path[:500], "key": key}


def _where(place: dict[str, str]) -> list[Any]:
    return [idempotency.c[name] == value for name, value in place.items()]
