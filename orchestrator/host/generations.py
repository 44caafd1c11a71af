"""One version in service: it counts the requests on their way through it, so that it is closed after the last."""

import asyncio

from orchestrator.host.manifests import Manifest
from orchestrator.host.sources import Snapshot
from orchestrator.host.tables import capability_of
from orchestrator.host.versions import Version


class Generation:
    """A loaded and initialised version of a plugin; `number` counts those of one plugin."""

    def __init__(self, number: int, snapshot: Snapshot, manifest: Manifest, version: Version) -> None:
        self.number = number
        self.snapshot = snapshot
        self.manifest = manifest
        self.version = version
        self.capability = capability_of(manifest.name, snapshot.digest)
        self._active = 0
        self._idle: asyncio.Future[None] | None = None

    def enter(self) -> None:
        """A request begins."""
        self._active += 1

    def leave(self) -> None:
        """A request has been answered."""
        self._active -= 1
        if not self._active and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def close(self) -> None:
        """End it when its last request has been answered."""
        while self._active:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        await self.version.close()
