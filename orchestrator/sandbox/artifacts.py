"""Which files of a working directory become artifacts: pure, from the runner's listing (CONTRACT 4).

The listing was made by the runner, but its names are the job's: they are only matched and told, never used as paths of
the host.
"""

import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.sandbox.frames import BrokenStream
from orchestrator.sandbox.jobs import Wanted

MAX_SKIPPED = 256
"""How many skipped entries are told one by one."""
_REASONS = {
    b"symlink": "symlink",
    b"folder": "not_a_file",
    b"other": "not_a_file",
    b"too_deep": "too_deep",
    b"unreadable": "unreadable",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a working directory: what it is (`file`, `symlink`, `folder`, `other`, `too_deep`), size, path."""

    kind: bytes
    size: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Choice:
    """What to fetch, in order, and what is left out, with the reason of each."""

    files: list[tuple[str, int]]
    skipped: list[tuple[str, str]]


def entries(payload: bytes) -> Iterator[Entry]:
    """The records of one frame of a listing. Raises `BrokenStream` where they make no sense."""
    fields = payload.split(b"\0")
    if fields.pop() or len(fields) % 3:
        raise BrokenStream("a listing that makes no sense")
    for at in range(0, len(fields), 3):
        kind, size, path = fields[at : at + 3]
        if not size.isdigit() or not path or (kind != b"file" and kind not in _REASONS):
            raise BrokenStream("a listing that makes no sense")
        yield Entry(kind, int(size), path)


def choose(found: Iterable[Entry], wanted: Wanted) -> Choice:
    """Take what the globs match until a bound is reached; folders that a glob merely passes are no artifacts."""
    choice, matcher = Choice([], []), Matcher(wanted.globs)
    room = wanted.bytes if wanted.room is None else min(wanted.room, wanted.bytes)
    for entry in sorted(found, key=lambda entry: entry.path):
        path = entry.path.decode(errors="replace")
        if not matcher.matches(path):
            continue
        reason = _REASONS.get(entry.kind) or _too_much(entry, path, len(choice.files), room, wanted)
        if reason is None:
            choice.files.append((path, entry.size))
            room -= entry.size
        elif entry.kind != b"folder" or path in wanted.globs:
            choice.skipped.append((path, reason))
    if len(choice.skipped) > MAX_SKIPPED:
        more = len(choice.skipped) - MAX_SKIPPED
        choice.skipped[MAX_SKIPPED:] = [("", f"and {more} more")]
    return choice


def _too_much(entry: Entry, path: str, count: int, room: int, wanted: Wanted) -> str | None:
    if path.encode(errors="replace") != entry.path:
        return "name"
    if count >= wanted.count:
        return "too_many"
    if entry.size > wanted.bytes:
        return "too_large"
    return "total" if entry.size > room else None


def matches(glob: str, path: str) -> bool:
    """Whether a glob matches a path: `*`, `?` and `[…]` stay within a folder, `**` goes through any number of them."""
    return Matcher([glob]).matches(path)


def pieces_of(glob: str) -> list[str]:
    """A glob's pieces between slashes; several `**` in a row are one."""
    pieces = glob.split("/")
    return [piece for i, piece in enumerate(pieces) if piece != "**" or pieces[i - 1 : i] != ["**"]]


class Matcher:
    """Matches many paths against globs. What a folder's name leads to is found once, so a path costs its last piece."""

    def __init__(self, globs: Iterable[str]) -> None:
        self._globs = [pieces_of(glob) for glob in globs]
        self._folders = {"": [_through(pieces, {0}) for pieces in self._globs]}

    def matches(self, path: str) -> bool:
        """Whether any glob matches."""
        return any(len(pieces) in at for pieces, at in zip(self._globs, self._after(path), strict=True))

    def _after(self, path: str) -> list[set[int]]:
        """Where in each glob a path leads."""
        folder, _, name = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = self._after(folder)
        before = self._folders[folder]
        return [_step(pieces, at, name) for pieces, at in zip(self._globs, before, strict=True)]


def _step(pieces: list[str], at: set[int], name: str) -> set[int]:
    if not at:
        return at
    return _through(pieces, {_after(pieces[i], i) for i in at if i < len(pieces) and _takes(pieces[i], name)})


def _through(pieces: list[str], at: set[int]) -> set[int]:
    """The positions in a glob that are reached without a name: `**` stands for none, too."""
    reached = set(at)
    for i in sorted(at):
        while i < len(pieces) and pieces[i] == "**":
            i += 1
            reached.add(i)
    return reached


def _takes(piece: str, name: str) -> bool:
    return piece == "**" or fnmatch.fnmatchcase(name, piece)


def _after(piece: str, i: int) -> int:
    return i if piece == "**" else i + 1
