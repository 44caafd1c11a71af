"""Posting to an address that somebody configured: no redirect, no proxy, no cookie, and only so long."""

import asyncio

import aiohttp

_MOST_HEADERS_BYTES = 8190


class Poster:
    """See `governance.couriers.Post`. The receiver's answer is its status; what it says beside that is not read."""

    def __init__(self, longest_s: float) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=longest_s), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
            max_line_size=_MOST_HEADERS_BYTES, max_field_size=_MOST_HEADERS_BYTES, auto_decompress=False,
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
        )  # fmt: skip

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> str | None:
        """Post once."""
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                return None if 200 <= response.status < 300 else f"it answered {response.status}"
        except TimeoutError:
            return "it did not answer in time"
        except (aiohttp.ClientError, OSError, ValueError, asyncio.LimitOverrunError) as fault:
            return f"it could not be reached ({type(fault).__name__})"

    async def close(self) -> None:
        """Let go of all connections."""
        await self._session.close()
