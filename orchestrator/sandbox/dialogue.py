"""The host's side of the talk with one runner: hand over a job, gather what comes, believe nothing without the nonce.

It knows streams and frames, no engine: a backend gives it a reader and a writer.
"""

import asyncio

from pydantic import BaseModel, ValidationError

from orchestrator.contracts.executions import OutputName
from orchestrator.sandbox import artifacts, file_talk, frames
from orchestrator.sandbox.frames import BrokenStream, Kind, Part, Role, Sink, Source
from orchestrator.sandbox.jobs import Evidence, Job, Observer, RawOutcome
from orchestrator.sandbox.talk import Talk


class Hello(BaseModel):
    """A runner's word that it is ready for a job."""

    version: int
    cgroup: int
    python: str


async def greet(reader: Source) -> Hello:
    """Wait until a runner is ready, fresh or wiped. Raises `BrokenStream`."""
    kind, _, payload = await frames.read(reader)
    if kind is not Kind.HELLO:
        raise BrokenStream(f"its first word was {kind.name}")
    try:
        return Hello.model_validate(frames.lines(payload))
    except ValidationError as fault:
        raise BrokenStream("its first word makes no sense") from fault


class Dialogue:
    """One job in one worker."""

    def __init__(self, reader: Source, writer: Sink, job: Job, observer: Observer) -> None:
        self._talk = Talk(reader, writer)
        self._job = job
        self._observer = observer
        self.outcome = RawOutcome()

    async def hold(self) -> None:
        """Talk until the runner has told its evidence. Raises `BrokenStream` where it ends without."""
        await self._talk.say(Kind.JOB, frames.pack_parts(_parts(self._job)))
        while not await self._take():
            pass

    def cancel(self, limit: str = "") -> None:
        """Ask the runner to end the job: for its client, or for a limit that is watched from outside."""
        self._talk.writer.write(frames.pack(Kind.CANCEL, self._talk.nonce, limit.encode()))

    async def gather(self) -> None:
        """After the job's end: fetch the artifacts that are wanted. Raises `BrokenStream`."""
        wanted, outcome = self._job.wanted, self.outcome
        if wanted is None or outcome.evidence is None:
            return
        found = await file_talk.entries(self._talk)
        choice = await asyncio.to_thread(artifacts.choose, found, wanted)  # a hostile tree takes a second
        outcome.artifacts_skipped = choice.skipped
        for path, size in choice.files:
            content = await file_talk.content(self._talk, path, size)
            if len(content) == size:
                outcome.artifacts[path] = content
            else:
                outcome.artifacts_skipped.append((path, "unreadable"))

    async def _take(self) -> bool:
        """Take one frame of a job under way; whether it was the last."""
        kind, payload = await self._talk.hear()
        limits, outcome = self._job.limits, self.outcome
        if kind is Kind.REFUSED and not outcome.started:
            outcome.loss, outcome.detail = "refused", payload.decode(errors="replace")
        elif kind is Kind.STARTED and not outcome.started:
            outcome.started = True
            self._observer.started()
        elif kind is Kind.STDOUT and outcome.started:
            self._keep("stdout", outcome.stdout, payload[: limits.stdout_bytes - len(outcome.stdout)])
        elif kind is Kind.STDERR and outcome.started:
            self._keep("stderr", outcome.stderr, payload[: limits.stderr_bytes - len(outcome.stderr)])
        elif kind is Kind.VALUE and outcome.started and self._job.session:
            outcome.value = payload.decode(errors="replace")
        elif kind is Kind.RESULT and outcome.started:
            outcome.evidence = _evidence(payload)
        else:
            raise BrokenStream(f"a {kind.name} out of turn")
        return kind in (Kind.REFUSED, Kind.RESULT)

    def _keep(self, name: OutputName, kept: bytearray, data: bytes) -> None:
        if data:
            kept += data
            self._observer.output(name, data)


def _parts(job: Job) -> list[Part]:
    """All that a job is, in the order in which the runner takes it: first what its process is told."""
    limits = [(Role.LIMIT, name, b"%d" % value) for name, value in job.limits.model_dump().items()]
    env = [(Role.ENV, name, value.encode()) for name, value in job.env.items()]
    marks: list[Part] = [(Role.SESSION, "", b"")] if job.session else []
    if any(role is Role.STDIN for role, _, _ in job.parts):
        marks.append((Role.STDIN, "", b""))
    command = [(Role.COMMAND, "", text.encode()) for text in job.command]
    args = [(Role.ARG, "", text.encode()) for text in job.args]
    brief = frames.pack_parts([*limits, *env, *marks, *command, *args])
    return [(Role.BRIEF, "", brief), *job.parts]


def _evidence(payload: bytes) -> Evidence:
    try:
        return Evidence.model_validate_strings(frames.lines(payload))
    except ValidationError as fault:
        raise BrokenStream("evidence that makes no sense") from fault
