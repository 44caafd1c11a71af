"""The host's side of the talk with one runner: hand over a job, gather what comes, believe nothing without the nonce.

It knows streams and frames, no engine: a backend gives it a reader and a writer.
"""

import os
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.sandbox import frames
from orchestrator.sandbox.frames import BrokenStream, Kind, Sink, Source
from orchestrator.sandbox.jobs import Evidence, Job, RawOutcome


class Hello(BaseModel):
    """A runner's first word."""

    version: int
    cgroup: int
    python: str


async def greet(reader: Source) -> Hello:
    """Wait until a fresh runner is ready. Raises `BrokenStream`."""
    kind, _, payload = await frames.read(reader)
    if kind is not Kind.HELLO:
        raise BrokenStream(f"its first word was {kind.name}")
    try:
        return Hello.model_validate_json(payload)
    except ValidationError as fault:
        raise BrokenStream("its first word makes no sense") from fault


class _Refusal(BaseModel):
    """A runner's word that it did not begin, and why."""

    refused: str


class Dialogue:
    """One job in one worker."""

    def __init__(self, reader: Source, writer: Sink) -> None:
        self._reader = reader
        self._writer = writer
        self._nonce = os.urandom(len(frames.NO_NONCE))
        self.outcome = RawOutcome()

    async def hold(self, job: Job, header: dict[str, Any], on_started: Callable[[], None]) -> None:
        """Talk until the runner has told its evidence. Raises `BrokenStream` where it ends without."""
        sending = frames.pack_job(header, job.parts) + frames.pack(Kind.GO, self._nonce)
        self._writer.write(sending)
        try:
            await self._writer.drain()
        except OSError as fault:
            raise BrokenStream("the container did not take the job") from fault
        while not await self._take(job, on_started):
            pass

    def cancel(self) -> None:
        """Ask the runner to end the job."""
        self._writer.write(frames.pack(Kind.CANCEL))

    async def _take(self, job: Job, on_started: Callable[[], None]) -> bool:
        """Take one frame; whether it was the last."""
        kind, nonce, payload = await frames.read(self._reader)
        if nonce != self._nonce:
            raise BrokenStream("a frame without the nonce")
        if kind is Kind.STARTED:
            self.outcome.started = True
            on_started()
        elif kind is Kind.STDOUT:
            _keep(self.outcome.stdout, payload, job.limits.stdout_bytes)
        elif kind is Kind.STDERR:
            _keep(self.outcome.stderr, payload, job.limits.stderr_bytes)
        elif kind is Kind.RESULT:
            self._conclude(payload)
            return True
        else:
            raise BrokenStream(f"a {kind.name} out of turn")
        return False

    def _conclude(self, payload: bytes) -> None:
        try:
            if self.outcome.started:
                self.outcome.evidence = Evidence.model_validate_json(payload)
            else:
                self.outcome.loss, self.outcome.detail = "refused", _Refusal.model_validate_json(payload).refused
        except ValidationError as fault:
            raise BrokenStream("evidence that makes no sense") from fault


def _keep(kept: bytearray, payload: bytes, limit: int) -> None:
    kept += payload[: max(0, limit - len(kept))]
