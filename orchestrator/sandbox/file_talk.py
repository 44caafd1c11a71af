"""Files of a working directory at rest: what is there, what is in one, and one more."""

from orchestrator.sandbox import artifacts
from orchestrator.sandbox.artifacts import Entry
from orchestrator.sandbox.frames import BrokenStream, Kind
from orchestrator.sandbox.talk import Talk

MAX_ENTRIES = 100_000
"""More than any profile's inodes; a longer listing is a broken or a forged one."""


async def entries(talk: Talk) -> list[Entry]:
    """Everything in the working directory. Raises `BrokenStream`."""
    await talk.say(Kind.LIST)
    found: list[Entry] = []
    while payload := (await talk.hear_one(Kind.ENTRIES))[1]:
        found += artifacts.entries(payload)
        if len(found) > MAX_ENTRIES:
            raise BrokenStream("a listing without an end")
    return found


async def content(talk: Talk, path: str, size: int) -> bytes:
    """Up to `size` bytes of a file; none where it cannot be read. Raises `BrokenStream`."""
    await talk.say(Kind.READ, size.to_bytes(8, "little") + path.encode())
    found = bytearray()
    while payload := (await talk.hear_one(Kind.CONTENT))[1]:
        found += payload
        if len(found) > size:
            raise BrokenStream("more content than was asked for")
    return bytes(found)


async def write(talk: Talk, path: str, data: bytes) -> str | None:
    """Put a file there, with the folders that it needs; why it could not be. Raises `BrokenStream`."""
    name = path.encode()
    await talk.say(Kind.WRITE, len(name).to_bytes(2, "little") + name + data)
    kind, payload = await talk.hear_one(Kind.RESULT, Kind.REFUSED)
    return payload.decode(errors="replace") if kind is Kind.REFUSED else None
