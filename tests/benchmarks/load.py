"""A load generator: one request, prepared as bytes, sent over kept-alive connections as fast as answers come."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """What one run measured."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


class Connection:
    """One kept-alive connection, with as little of a client as there can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, message: bytes) -> tuple[int, bytes]:
        """Send a request; the answer's status and body."""
        self._writer.write(message)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        body = await self._reader.readexactly(int(lower[at : lower.index(b"\r", at)]))
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection for the length of a block."""
    connection = await Connection.open(port)
    try:
        yield connection
    finally:
        connection.close()


def request(path: str, body: object, headers: dict[str, str] | None = None, method: str = "POST") -> bytes:
    """A request with a JSON body, as bytes."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


async def run(port: int, message: bytes, *, connections: int, seconds: float, warm_s: float = 1.0) -> Figures:
    """Send `message` from so many connections for so long."""
    times: list[float] = []
    failed = 0
    start = time.perf_counter() + warm_s
    end = start + seconds

    async def one() -> None:
        nonlocal failed
        connection = await Connection.open(port)
        while (began := time.perf_counter()) < end:
            status, _ = await connection.ask(message)
            if began >= start:
                times.append(time.perf_counter() - began)
                failed += status != 200
        connection.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    times.sort()
    return Figures(len(times) / seconds, statistics.median(times) * 1e3, times[int(len(times) * 0.99)] * 1e3, failed)
