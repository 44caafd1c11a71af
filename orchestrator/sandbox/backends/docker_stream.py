"""The attached stream of one container: an upgraded HTTP connection to the engine, read and written by asyncio itself.

What a container writes comes in pieces, each behind 8 bytes: the stream (1 is stdout, 2 stderr), three zeros, the
length (big endian). Pieces are taken only as they are wanted, so a slow reader holds back the writer in the container.
"""

import asyncio
import struct
from urllib.parse import urlsplit

_PIECE = struct.Struct(">BxxxI")
_STDOUT = 1
_TAIL_BYTES = 2_000
_BUFFER_BYTES = 256 * 1024


class AttachedStream:
    """A container's stdin and stdout as one stream of bytes; the end of its stderr is kept for the log."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ready = bytearray()
        self.stderr_tail = b""

    @property
    def ended(self) -> bool:
        """Whether the container's side is closed and all was read."""
        return self._reader.at_eof() or self._writer.is_closing()

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    async def readexactly(self, n: int) -> bytes:
        while len(self._ready) < n:
            await self._take_piece()
        data = bytes(self._ready[:n])
        del self._ready[:n]
        return data

    def close(self) -> None:
        """Hang up; the container's stdin closes, and its runner ends by that alone."""
        self._writer.transport.abort()

    async def _take_piece(self) -> None:
        stream, size = _PIECE.unpack(await self._reader.readexactly(_PIECE.size))
        data = await self._reader.readexactly(size)
        if stream == _STDOUT:
            self._ready += data
        else:
            self.stderr_tail = (self.stderr_tail + data)[-_TAIL_BYTES:]


async def attach(engine_url: str, api_version: str, container: str) -> AttachedStream:
    """Attach to a container that was created and not yet started. Raises `OSError` where the engine refuses."""
    reader, writer = await _connect(engine_url)
    path = f"/v{api_version}/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1"
    try:
        writer.write(f"POST {path} HTTP/1.1\r\nHost: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        if status not in (b"101", b"200"):
            raise OSError(f"the engine answered {status.decode()} to attaching")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError) as fault:
        writer.transport.abort()
        raise OSError("the engine closed the stream while attaching") from fault
    except BaseException:
        writer.transport.abort()
        raise
    return AttachedStream(reader, writer)


async def _connect(engine_url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(engine_url)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path, limit=_BUFFER_BYTES)
    return await asyncio.open_connection(parts.hostname, parts.port or 2375, limit=_BUFFER_BYTES)
