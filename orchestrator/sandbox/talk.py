"""Words to and from one runner, all under one nonce: what carries another is not believed."""

import os

from orchestrator.sandbox import frames
from orchestrator.sandbox.frames import BrokenStream, Kind, Sink, Source


class Talk:
    """One exchange with a runner; its nonce is new, and known to the runner alone."""

    def __init__(self, reader: Source, writer: Sink) -> None:
        self.reader = reader
        self.writer = writer
        self.nonce = os.urandom(len(frames.NO_NONCE))

    async def say(self, kind: Kind, payload: bytes = b"") -> None:
        """Send one frame. Raises `BrokenStream`."""
        self.writer.write(frames.pack(kind, self.nonce, payload))
        try:
            await self.writer.drain()
        except OSError as fault:
            raise BrokenStream("the container did not take it") from fault

    async def hear(self) -> tuple[Kind, bytes]:
        """The next frame. Raises `BrokenStream` for one that is not of this exchange."""
        kind, nonce, payload = await frames.read(self.reader)
        if nonce != self.nonce:
            raise BrokenStream("a frame without the nonce")
        return kind, payload

    async def hear_one(self, *expected: Kind) -> tuple[Kind, bytes]:
        """The next frame, which has to be of one of these kinds. Raises `BrokenStream`."""
        kind, payload = await self.hear()
        if kind not in expected:
            raise BrokenStream(f"a {kind.name} out of turn")
        return kind, payload
