"""Anchors: the head of the audit's chain, signed and kept outside the database (REQUIREMENTS 3.1, 3.2).

A chain alone does not show that its end was cut off. So every so many entries, or seconds, a line is added to a file in
the state directory: the newest row's number and hash, under a key that lies there and not in the database. Rows that
are newer than the last line are not covered by it.
"""

import asyncio
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import structlog

from orchestrator.audit.journal import Journal
from orchestrator.kernel.canonical import canonical_json
from orchestrator.kernel.clock import Clock, SystemClock, rfc3339

log = structlog.get_logger("audit")
EVERY_ENTRIES = 1000
EVERY_S = 10.0
_LOOK_S = 0.25
_KEY_BYTES = 32
_KEPT_LINES = 10_000
_MOST_LINE_BYTES = 512


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of the chain at a time."""

    seq: int
    hash: str
    time: str


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the file says: hashes by the number of their rows, the newest of them, how many lines nobody here signed."""

    hashes: Mapping[int, str]
    last: Anchor | None
    forged: int


class Anchors:
    """The file of anchors of one state directory, and its key, both for the daemon's user alone."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self._file = state / "audit.anchors"
        self._key_file = state / "audit.key"
        self._clock = clock
        self._key = self._known_key() or self._made_key()

    @classmethod
    def written(cls, state: Path) -> Anchored:
        """What a daemon has anchored there, for who only looks: nothing is made."""
        if not (state / "audit.key").exists():
            return Anchored({}, None, 0)
        return cls(state, SystemClock()).read()

    def add(self, seq: int, digest: str) -> None:
        """Write down the head; on disk when this returns."""
        anchor = {"seq": seq, "hash": digest, "time": rfc3339(self._clock.now())}
        line = canonical_json({**anchor, "mac": self._mac(anchor)}) + b"\n"
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self) -> Anchored:
        """What is written there. A line that was cut off by a crash is no forgery; one with another's mac is."""
        hashes: dict[int, str] = {}
        last, forged = None, 0
        for anchor, good in self._lines():
            if not good or hashes.setdefault(anchor.seq, anchor.hash) != anchor.hash:
                forged += 1
            elif last is None or anchor.seq >= last.seq:
                last = anchor
        return Anchored(hashes, last, forged)

    def shorten(self) -> None:
        """Drop all but the newest lines, so that the file does not grow for ever."""
        with suppress(FileNotFoundError):
            lines = self._file.read_bytes().splitlines(keepends=True)
            if len(lines) > _KEPT_LINES:
                draft = self._file.with_suffix(".new")
                draft.write_bytes(b"".join(lines[-_KEPT_LINES // 2 :]))
                draft.chmod(0o600)
                draft.replace(self._file)

    def _lines(self) -> Iterator[tuple[Anchor, bool]]:
        with suppress(FileNotFoundError), self._file.open("rb") as file:
            while line := file.readline(_MOST_LINE_BYTES):
                try:
                    told = json.loads(line)
                    mac = told.pop("mac")
                    anchor = Anchor(int(told["seq"]), str(told["hash"]), str(told["time"]))
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue
                yield anchor, hmac.compare_digest(str(mac).encode(), self._mac(told).encode())

    def _mac(self, anchor: dict[str, object]) -> str:
        return hmac.new(self._key, canonical_json(anchor), sha256).hexdigest()

    def _known_key(self) -> bytes | None:
        with suppress(FileNotFoundError):
            if len(key := self._key_file.read_bytes()) == _KEY_BYTES:
                return key
        return None

    def _made_key(self) -> bytes:
        key = secrets.token_bytes(_KEY_BYTES)
        draft = self._key_file.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
        draft.replace(self._key_file)
        return key


async def keep_anchoring(anchors: Anchors, journal: Journal, clock: Clock) -> None:
    """Anchor the head whenever it has moved by so many entries, or for so long."""
    anchored, at = 0, clock.monotonic()
    anchors.shorten()
    while True:
        await asyncio.sleep(_LOOK_S)
        moved, waited = journal.head[0] - anchored, clock.monotonic() - at
        if moved >= EVERY_ENTRIES or (moved > 0 and waited >= EVERY_S):
            anchored, at = await asyncio.to_thread(anchor_head, anchors, journal), clock.monotonic()


def anchor_head(anchors: Anchors, journal: Journal) -> int:
    """Anchor the head of the chain; its number. What cannot be written is logged: the audit goes on without."""
    seq, digest = journal.head
    try:
        if seq > 0:
            anchors.add(seq, digest)
    except OSError as fault:
        log.error("audit.not_anchored", reason=str(fault))
    return seq


def known(anchors: Anchors, journal: Journal) -> Anchored:
    """What is known of the chain outside the database: the file's lines, and what this daemon itself wrote last."""
    found, (seq, digest) = anchors.read(), journal.head
    if seq == 0 or (found.last is not None and found.last.seq > seq):
        return found
    return Anchored({seq: digest, **found.hashes}, Anchor(seq, digest, ""), found.forged)
