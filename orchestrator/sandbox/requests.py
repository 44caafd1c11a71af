"""From a request to what can be run: pure, and all of its faults told at once (CONTRACT 4, R2-08).

What passes here fits: the runner writes the files into exactly the space and the inodes that are counted here.
"""

import base64
import binascii
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.contracts.executions import Case, Content, ExecutionRequest, Limits
from orchestrator.sandbox import rules
from orchestrator.sandbox.frames import Part, Role
from orchestrator.sandbox.jobs import ENVIRONMENT, Job, Wanted
from orchestrator.sandbox.profiles import Profile
from orchestrator.sandbox.rules import Fault, Loc


@dataclass(frozen=True, slots=True)
class AdmittedCase:
    """One run of an admitted program: the limits that hold, its arguments, its parts as bytes, what it should print."""

    limits: Limits
    args: list[str]
    env: dict[str, str]
    parts: list[Part]
    wanted: Wanted | None
    command: list[str]
    expected_stdout: str | None
    session: bool = False

    def job(self, execution_id: str, artifact_bytes: int) -> Job:
        """What a worker gets to do, and may leave in artifacts; the expected output stays here."""
        wanted = None if self.wanted is None else dataclasses.replace(self.wanted, room=artifact_bytes)
        return Job(execution_id, self.limits, self.args, self.env, self.parts, self.command, self.session, wanted)

    def as_piece(self, figures: str) -> "AdmittedCase":
        """The same as a piece of a session, whose figures are artifacts, too."""
        globs = [*(self.wanted.globs if self.wanted else []), figures]
        wanted = Wanted(globs, self.limits.artifacts, self.limits.artifact_bytes)
        return dataclasses.replace(self, session=True, wanted=wanted)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that can be run: itself with language and profile named, its profile, its cases (one where it names
    none), its bytes in memory."""

    request: ExecutionRequest
    profile: Profile
    cases: list[AdmittedCase]
    weight: int

    @property
    def limits(self) -> Limits:
        """The limits of its first case."""
        return self.cases[0].limits

    @property
    def memory_bytes(self) -> int:
        """The most memory that any of its cases may use."""
        return max(case.limits.memory_bytes for case in self.cases)


def admit(request: ExecutionRequest, profiles: Mapping[str, Profile]) -> Admitted:
    """Judge a request. Raises `Invalid` with every fault of it."""
    faults: list[Fault] = [*rules.program(request.code), *rules.env(request.env), *rules.globs(request.artifacts)]
    profile = rules.profile(request.profile, request.language, profiles, faults)
    common = _Common(request, profile, faults)
    if request.cases is None:
        cases = [common.case(Case(), ())]
    else:
        cases = [common.case(case, ("cases", index)) for index, case in enumerate(request.cases)]
    admitted = [case for case in cases if case is not None]
    if faults or profile is None:
        raise rules.refusal(faults)
    named = request.model_copy(update={"language": profile.manifest.language, "profile": profile.name})
    return Admitted(named, profile, admitted, common.weight)


class _Common:
    """What all cases of a request share, and how each is made from it. All that is wrong goes to `faults`."""

    def __init__(self, request: ExecutionRequest, profile: Profile | None, faults: list[Fault]) -> None:
        self._request = request
        self._profile = profile
        self._faults = faults
        self._program = request.code.encode()
        self._stdin = self._content(("stdin",), request.stdin)
        self._files = self._contents((), request.files)
        self.weight = 2 * len(self._program) + self._own(self._files, self._stdin)
        wrong = list(rules.paths((), list(request.files)))
        self._wrong_paths = {fault.loc[-1] for fault in wrong}
        faults += [*rules.args((), request.args), *wrong]

    def case(self, case: Case, loc: Loc) -> AdmittedCase | None:
        """One case over what is common; None where something is wrong with it."""
        request, before = self._request, len(self._faults)
        own, stdin = self._contents(loc, case.files), self._content((*loc, "stdin"), case.stdin)
        self.weight += self._own(own, stdin)
        files, stdin = {**self._files, **own}, self._stdin if stdin is None else stdin
        self._faults += rules.args(loc, case.args or []) if loc else ()
        self._faults += [fault for fault in rules.paths(loc, list(files)) if fault.loc[-1] not in self._wrong_paths]
        limits = self._limits(case, loc)
        if self._profile is None or limits is None or len(self._faults) > before:
            return None
        runs = self._profile.manifest
        self._faults += rules.room(loc, self._program, files, stdin, limits)
        wanted = Wanted(request.artifacts, limits.artifacts, limits.artifact_bytes) if request.artifacts else None
        parts: list[Part] = [(Role.PROGRAM, runs.program, self._program)]
        parts += [] if stdin is None else [(Role.STDIN, "", stdin)]
        parts += [(Role.FILE, path, content) for path, content in files.items()]
        args = request.args if case.args is None else case.args
        env = {**ENVIRONMENT, **runs.env, **request.env}
        return AdmittedCase(limits, args, env, parts, wanted, runs.command, case.expected_stdout)

    def _limits(self, case: Case, loc: Loc) -> Limits | None:
        stated = self._request.limits.model_dump(exclude_none=True) | case.limits.model_dump(exclude_none=True)
        return None if self._profile is None else rules.limits((*loc, "limits"), stated, self._profile, self._faults)

    def _contents(self, loc: Loc, files: Mapping[str, Content]) -> dict[str, bytes]:
        found = {path: self._content((*loc, "files", path), content) for path, content in files.items()}
        return {path: content for path, content in found.items() if content is not None}

    def _content(self, loc: Loc, content: Content | None) -> bytes | None:
        if content is None or isinstance(content, str):
            return None if content is None else content.encode()
        try:
            return base64.b64decode(content.base64, validate=True)
        except (binascii.Error, ValueError):
            self._faults.append(Fault(loc, "is not valid base64"))
            return None

    def _own(self, files: Mapping[str, bytes], stdin: bytes | None) -> int:
        """What these hold in memory while they wait: as they came, and as bytes."""
        return 2 * (sum(map(len, files.values())) + len(stdin or b""))
