"""The rules of admission, each telling what breaks it (CONTRACT 4, R2-08). Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.executions import Limits
from orchestrator.sandbox import profiles
from orchestrator.sandbox.artifacts import pieces_of
from orchestrator.sandbox.profiles import Profile

MAX_PROGRAM_BYTES = 16 * 2**20
MAX_STRING_BYTES = 128 * 2**10
"""The most that the kernel takes as one argument or one variable of a program."""
MAX_STRINGS_BYTES = 2**20
MAX_CROSSINGS = 4
MAX_PATH_BYTES = 1_024
MAX_PATH_PIECES = 64
RUNNER_BYTES = 12 * 2**20
"""What a worker's memory holds beside a request and the little that the smallest program needs."""
_PAGE = 4096
_INODES_BEFORE = 3  # of the tmpfs itself, the working directory and /tmp
_STEERING = re.compile(
    r"(LD_|DYLD_|PYTHON|BASH_FUNC_).*|NODE_OPTIONS|NODE_PATH|BASH_ENV|ENV|SHELLOPTS|BASHOPTS|IFS|PS4|GLIBC_TUNABLES|GCONV_PATH"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f=]")


Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, what mends it, and its code where it has a narrower one."""

    loc: Loc
    msg: str
    code: str = "invalid"


def refusal(faults: list[Fault]) -> Invalid:
    """All faults as one error; its code is the narrower one where all agree on it."""
    codes = {fault.code for fault in faults}
    first = faults[0]
    return Invalid(
        f"{'.'.join(map(str, first.loc))}: {first.msg}" + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""),
        code=codes.pop() if len(codes) == 1 else "invalid",
        errors=[{"loc": list(fault.loc), "msg": fault.msg} for fault in faults],
    )


def program(code: str) -> Iterator[Fault]:
    """A program that is too large."""
    if len(code.encode()) > MAX_PROGRAM_BYTES:
        yield Fault(("code",), f"larger than {MAX_PROGRAM_BYTES:,} bytes")


def profile(
    name: str | None, language: str | None, known: Mapping[str, Profile], faults: list[Fault]
) -> Profile | None:
    """The profile that is named, else that of the language, else that of Python; what is wrong goes to `faults`."""
    found = profiles.of_language(known, language or profiles.RUNNERS_OWN) if name is None else known.get(name)
    if found is None:
        what, there = (
            ("language", {p.manifest.language for p in known.values()}) if name is None else ("profile", known)
        )
        faults.append(Fault((what,), f"unknown; there are {', '.join(sorted(there)) or 'none'}"))
    elif language not in (None, found.manifest.language):
        faults.append(Fault(("language",), f"the profile {found.name} runs {found.manifest.language}"))
    return found


def args(loc: Loc, given: list[str]) -> Iterator[Fault]:
    """Arguments that the kernel would not take."""
    for index, text in enumerate(given):
        yield from _string((*loc, "args", index), text)
    if sum(map(len, given)) > MAX_STRINGS_BYTES:
        yield Fault((*loc, "args"), f"together larger than {MAX_STRINGS_BYTES:,} characters")


def globs(given: list[str]) -> Iterator[Fault]:
    """Globs that would take long to match against a hostile tree."""
    for index, glob in enumerate(given):
        if pieces_of(glob).count("**") > MAX_CROSSINGS:
            yield Fault(("artifacts", index), f"has more than {MAX_CROSSINGS} times `**`")


def env(given: Mapping[str, str]) -> Iterator[Fault]:
    """Variables that have no name, steer what runs the program, or that the kernel would not take."""
    for name, value in given.items():
        if not name or _CONTROL.search(name):
            yield Fault(("env", name), "a name is not empty and has neither '=' nor control characters")
        elif _STEERING.fullmatch(name):
            yield Fault(("env", name), "steers the loader or the interpreter; leave it out")
        yield from _string(("env", name), name + value)
    if sum(len(name) + len(value) for name, value in given.items()) > MAX_STRINGS_BYTES:
        yield Fault(("env",), f"together larger than {MAX_STRINGS_BYTES:,} characters")


def _string(loc: Loc, text: str) -> Iterator[Fault]:
    if "\0" in text:
        yield Fault(loc, "has a NUL character")
    if len(text.encode()) > MAX_STRING_BYTES:
        yield Fault(loc, f"larger than {MAX_STRING_BYTES:,} bytes")


def paths(loc: Loc, given: list[str]) -> Iterator[Fault]:
    """Paths that leave the working directory, or that cannot be there together."""
    through = folders(given)
    for path in given:
        if wrong := _wrong(path):
            yield Fault((*loc, "files", path), wrong)
        elif path in through:
            yield Fault((*loc, "files", path), "is a file here and a folder in another path")


def _wrong(path: str) -> str | None:
    """What is wrong with one path, if anything is."""
    if path.startswith("/"):
        return "is absolute; give a path in the working directory"
    pieces = path.split("/")
    if ".." in pieces:
        return "climbs; give a path in the working directory"
    if "\0" in path or "" in pieces or "." in pieces:
        return "is no plain path: empty and '.' pieces and NUL are not allowed"
    too_long = len(path.encode()) > MAX_PATH_BYTES or any(len(piece.encode()) > 255 for piece in pieces)
    if too_long or len(pieces) > MAX_PATH_PIECES:
        return f"is too long: {MAX_PATH_PIECES} pieces of 255 bytes, {MAX_PATH_BYTES:,} bytes in all"
    return None


def limits(loc: Loc, stated: dict[str, Any], profile: Profile, faults: list[Fault]) -> Limits | None:
    """What the request states over what the profile sets, checked against what the profile allows."""
    holds = {**profile.manifest.limits.default.model_dump(), **stated}
    if "disk_bytes" not in stated:
        holds["disk_bytes"] = min(holds["disk_bytes"], max(holds["memory_bytes"], _PAGE))
    most = profile.manifest.limits.maximum.model_dump()
    found = [
        Fault(
            (*loc, name), f"{value:,} is above the {most[name]:,} of the profile {profile.name}", "limit_above_profile"
        )
        for name, value in stated.items()
        if value > most[name]
    ]
    if "disk_bytes" in stated and holds["disk_bytes"] > holds["memory_bytes"]:
        found.append(Fault((*loc, "disk_bytes"), "above memory_bytes, in which all that is written counts"))
    try:
        merged = Limits(**holds)
    except ValidationError as fault:
        told = {fault.loc for fault in found}
        more = [Fault((*loc, *error["loc"]), error["msg"]) for error in fault.errors()]
        found += [fault for fault in more if fault.loc not in told]
    faults += found
    return None if found else merged


def room(loc: Loc, code: bytes, files: Mapping[str, bytes], stdin: bytes | None, within: Limits) -> Iterator[Fault]:
    """Whether the files fit, counted as a tmpfs counts: whole pages, and an inode for each file and folder."""
    whole = len(code) + len(stdin or b"") + sum(map(len, files.values()))
    if whole + RUNNER_BYTES > within.memory_bytes:
        yield Fault((*loc, "limits", "memory_bytes"), f"cannot hold the {whole:,} bytes of program, stdin and files")
    pages = sum(-(-len(content) // _PAGE) for content in files.values())
    space = within.disk_bytes // _PAGE * _PAGE
    if pages * _PAGE > space:
        yield Fault((*loc, "files"), f"take {pages * _PAGE:,} bytes, and disk_bytes is {within.disk_bytes:,}")
    inodes = _INODES_BEFORE + len(files) + len(folders(list(files)))
    if inodes > within.inodes:
        yield Fault((*loc, "files"), f"take {inodes:,} inodes, and inodes is {within.inodes:,}")


def folders(paths: list[str]) -> set[str]:
    """All folders that the paths go through: `a/b/c` gives `a` and `a/b`. Paths that are wrong give none."""
    pieces = [path.split("/") for path in paths if _wrong(path) is None]
    return {"/".join(of[:count]) for of in pieces for count in range(1, len(of))}
