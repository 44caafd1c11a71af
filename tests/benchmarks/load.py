"""A load generator: one request, prepared as bytes, sent over kept-alive connections as fast as answers come."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """What one run measured."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int


def request(path: str, body: object, headers: dict[str, str] | None = None) -> bytes:
    """A POST with a JSON body, as bytes."""
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
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
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            at = lower.index(b"content-length:") + 15
            await reader.readexactly(int(lower[at : lower.index(b"\r", at)]))
            if began >= start:
                times.append(time.perf_counter() - began)
                failed += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    times.sort()
    return Figures(len(times) / seconds, statistics.median(times) * 1e3, times[int(len(times) * 0.99)] * 1e3, failed)
