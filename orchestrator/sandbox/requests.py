"""Whether a request can be run at all: pure, and all of its faults told at once (CONTRACT 4, R2-08).

What passes here fits: the runner writes the files into exactly the space and the inodes that are counted here.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.executions import Base64File, ExecutionRequest, Limits
from orchestrator.sandbox.profiles import Profile

MAX_PROGRAM_BYTES = 16 * 2**20
MAX_STRING_BYTES = 128 * 2**10
"""The most that the kernel takes as one argument or one variable of a program."""
MAX_STRINGS_BYTES = 2**20
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


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, what mends it, and its code where it has a narrower one."""

    loc: tuple[str | int, ...]
    msg: str
    code: str = "invalid"


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that can be run: its profile, the limits that hold, and its parts as bytes."""

    profile: Profile
    limits: Limits
    parts: list[tuple[str, str, bytes]]


def admit(request: ExecutionRequest, profiles: Mapping[str, Profile]) -> Admitted:
    """Judge a request. Raises `Invalid` with every fault of it."""
    faults: list[Fault] = [*_program(request), *_args(request.args), *_env(request.env)]
    contents = dict(_contents(request, faults))
    faults += _paths(list(request.files))
    profile = profiles.get(request.profile)
    limits = None
    if profile is None:
        faults.append(Fault(("profile",), f"unknown; there are {', '.join(sorted(profiles)) or 'none'}"))
    else:
        faults += _language(request, profile)
        limits = _limits(request, profile, faults)
    if limits is not None:
        faults += _room(request, contents, limits)
    if faults or profile is None or limits is None:
        raise refusal(faults)
    return Admitted(profile, limits, _parts(request, contents))


def refusal(faults: list[Fault]) -> Invalid:
    """All faults as one error; its code is the narrower one where all agree on it."""
    codes = {fault.code for fault in faults}
    first = faults[0]
    return Invalid(
        f"{'.'.join(map(str, first.loc))}: {first.msg}" + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""),
        code=codes.pop() if len(codes) == 1 else "invalid",
        errors=[{"loc": list(fault.loc), "msg": fault.msg} for fault in faults],
    )


def _program(request: ExecutionRequest) -> Iterator[Fault]:
    if len(request.code.encode()) > MAX_PROGRAM_BYTES:
        yield Fault(("code",), f"larger than {MAX_PROGRAM_BYTES:,} bytes")


def _language(request: ExecutionRequest, profile: Profile) -> Iterator[Fault]:
    if request.language != profile.manifest.language:
        yield Fault(("language",), f"the profile {profile.name} runs {profile.manifest.language}")


def _args(args: list[str]) -> Iterator[Fault]:
    for index, text in enumerate(args):
        yield from _string(("args", index), text)
    if sum(map(len, args)) > MAX_STRINGS_BYTES:
        yield Fault(("args",), f"together larger than {MAX_STRINGS_BYTES:,} characters")


def _env(env: Mapping[str, str]) -> Iterator[Fault]:
    for name, value in env.items():
        if not name or _CONTROL.search(name):
            yield Fault(("env", name), "a name is not empty and has neither '=' nor control characters")
        elif _STEERING.fullmatch(name):
            yield Fault(("env", name), "steers the loader or the interpreter; leave it out")
        yield from _string(("env", name), name + value)
    if sum(len(name) + len(value) for name, value in env.items()) > MAX_STRINGS_BYTES:
        yield Fault(("env",), f"together larger than {MAX_STRINGS_BYTES:,} characters")


def _string(loc: tuple[str | int, ...], text: str) -> Iterator[Fault]:
    if "\0" in text:
        yield Fault(loc, "has a NUL character")
    if len(text.encode()) > MAX_STRING_BYTES:
        yield Fault(loc, f"larger than {MAX_STRING_BYTES:,} bytes")


def _contents(request: ExecutionRequest, faults: list[Fault]) -> Iterator[tuple[str | None, bytes]]:
    """The bytes of each file by its path, and those of stdin by None."""
    given: list[tuple[str | None, tuple[str | int, ...], str | Base64File | None]] = [(None, ("stdin",), request.stdin)]
    given += [(path, ("files", path), content) for path, content in request.files.items()]
    for path, loc, content in given:
        if content is None:
            continue
        try:
            yield (
                path,
                content.encode() if isinstance(content, str) else base64.b64decode(content.base64, validate=True),
            )
        except (binascii.Error, ValueError):
            faults.append(Fault(loc, "is not valid base64"))


def _paths(paths: list[str]) -> Iterator[Fault]:
    folders = _folders(paths)
    for path in paths:
        if wrong := _wrong(path):
            yield Fault(("files", path), wrong)
        elif path in folders:
            yield Fault(("files", path), "is a file here and a folder in another path")


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


def _limits(request: ExecutionRequest, profile: Profile, faults: list[Fault]) -> Limits | None:
    """What the request states over what the profile sets, checked against what the profile allows."""
    stated: dict[str, Any] = request.limits.model_dump(exclude_none=True)
    holds = {**profile.manifest.limits.default.model_dump(), **stated}
    if "disk_bytes" not in stated:
        holds["disk_bytes"] = min(holds["disk_bytes"], max(holds["memory_bytes"], _PAGE))
    most = profile.manifest.limits.maximum.model_dump()
    found = [
        Fault(
            ("limits", name),
            f"{value:,} is above the {most[name]:,} of the profile {profile.name}",
            "limit_above_profile",
        )
        for name, value in stated.items()
        if value > most[name]
    ]
    if "disk_bytes" in stated and holds["disk_bytes"] > holds["memory_bytes"]:
        found.append(Fault(("limits", "disk_bytes"), "above memory_bytes, in which all that is written counts"))
    try:
        limits = Limits(**holds)
    except ValidationError as fault:
        found += [Fault(("limits", *error["loc"]), error["msg"]) for error in fault.errors()]
    faults += found
    return None if found else limits


def _room(request: ExecutionRequest, contents: Mapping[str | None, bytes], limits: Limits) -> Iterator[Fault]:
    """Whether the files fit, counted as a tmpfs counts: whole pages, and an inode for each file and folder."""
    whole = len(request.code.encode()) + sum(map(len, contents.values()))
    if whole + RUNNER_BYTES > limits.memory_bytes:
        yield Fault(("limits", "memory_bytes"), f"cannot hold the {whole:,} bytes of program, stdin and files")
    pages = sum(-(-len(content) // _PAGE) for path, content in contents.items() if path is not None)
    space = limits.disk_bytes // _PAGE * _PAGE
    if pages * _PAGE > space:
        yield Fault(("files",), f"take {pages * _PAGE:,} bytes, and disk_bytes is {limits.disk_bytes:,}")
    inodes = _INODES_BEFORE + len(request.files) + len(_folders(list(request.files)))
    if inodes > limits.inodes:
        yield Fault(("files",), f"take {inodes:,} inodes, and inodes is {limits.inodes:,}")


def _parts(request: ExecutionRequest, contents: Mapping[str | None, bytes]) -> list[tuple[str, str, bytes]]:
    parts = [("program", "", request.code.encode())]
    if None in contents:
        parts.append(("stdin", "", contents[None]))
    return parts + [("file", path, contents[path]) for path in request.files]


def _folders(paths: list[str]) -> set[str]:
    """All folders that the paths go through: `a/b/c` gives `a` and `a/b`. Paths that are wrong give none."""
    pieces = [path.split("/") for path in paths if _wrong(path) is None]
    return {"/".join(of[:count]) for of in pieces for count in range(1, len(of))}
