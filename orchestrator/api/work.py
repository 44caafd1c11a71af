"""The requests under way that do something: what a drain waits for."""

import asyncio
from typing import Self


class Work:
    """Counts those who are inside `with work:`. Reading is not work, or whoever asks how it goes would prolong it."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> Self:
        self._count += 1
        self._none.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    async def ended(self) -> None:
        """Return when nobody is inside."""
        await self._none.wait()
