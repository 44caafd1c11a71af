"""The one path to the sandbox: admitted, permitted, written down before it starts and after it ends (R4-08, R4-43).

Whoever wants code run, a client, a plugin or the Python interface, comes through here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from orchestrator.contracts.callers import Caller
from orchestrator.contracts.costs import Cost
from orchestrator.contracts.errors import NotFound, OrchestratorError
from orchestrator.contracts.executions import Execution, ExecutionRequest, Limits, OutputName, Progress
from orchestrator.contracts.model import JsonObject
from orchestrator.contracts.permits import Permit
from orchestrator.governance import prices
from orchestrator.governance.commands.admissions import Admissions, stands
from orchestrator.governance.commands.admitted import caller_of
from orchestrator.governance.commands.bases import Basis
from orchestrator.governance.execution_log import ExecutionLog
from orchestrator.governance.grants import EXECUTE, Grants, NoGrant
from orchestrator.governance.halts import Halts
from orchestrator.governance.quotas import Hold, Quotas
from orchestrator.governance.settings import GovernanceSettings
from orchestrator.kernel.clock import Clock, rfc3339
from orchestrator.kernel.ids import new_id
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor


class Admitted(Protocol):
    """A request that the sandbox can run: as it was sent, language and profile named; and the limits that hold."""

    @property
    def request(self) -> ExecutionRequest: ...

    @property
    def limits(self) -> Limits: ...


Withdraw = Callable[[str, str, str], Awaitable[None]]
"""Cancels a command, in whose name and why."""
AdmittedT = TypeVar("AdmittedT", bound=Admitted)


class SandboxPort(Protocol[AdmittedT]):
    """What is needed of the sandbox room."""

    def admit(self, request: ExecutionRequest) -> AdmittedT:
        """A request that can be run. Raises `Invalid` with all of its faults."""
        ...

    def cancel(self, execution_id: str) -> bool:
        """End an execution; its `run` then answers `cancelled`. False if it is not under way."""
        ...

    async def run(
        self, execution_id: str, admitted: AdmittedT, *, owner: str, key_id: str | None, permit: Permit,
        progress: Progress, session_id: str | None = None,
    ) -> Execution:  # fmt: skip
        """Run it. Raises `Unavailable` or `TooMany` if it did not start; otherwise every outcome is an `Execution`."""
        ...


class Running:
    """One execution under way: whose it is, how far it is, who listens to its output, and its end."""

    def __init__(self, execution_id: str, admitted: Admitted, caller: Caller, created_at: str) -> None:
        self.id = execution_id
        self.admitted = admitted
        self.request = admitted.request
        self.caller = caller
        self.created_at = created_at
        self.listener: Progress | None = None
        self.session_id: str | None = None
        self.now = "queued"
        self.ended = asyncio.Event()
        self.accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._until_accepted = {"queued", "written"}
        self.task: asyncio.Task[Execution | OrchestratorError] | None = None
        self.hold: Hold | None = None

    def status(self, status: str) -> None:
        """It is `queued`, or `running`."""
        self.now = status
        self._is("queued")

    def written(self) -> None:
        """That it starts is written down, and outlives the daemon."""
        self._is("written")

    def output(self, name: OutputName, data: bytes) -> None:
        """A piece of its output."""
        if self.listener is not None:
            self.listener.output(name, data)

    def view(self) -> Execution:
        """It as it is now."""
        return Execution.model_validate({**self._told(), "id": self.id, "status": self.now})

    def complete(self, outcome: Execution) -> Execution:
        """Its outcome with what is known of it here."""
        return outcome.model_copy(update=self._told())

    def _is(self, step: str) -> None:
        self._until_accepted.discard(step)
        if not self._until_accepted and not self.accepted.done():
            self.accepted.set_result(None)

    def _told(self) -> dict[str, Any]:
        asked = self.request
        told = {"language": asked.language, "profile": asked.profile, "subject": asked.subject}
        return {**told, "created_at": self.created_at, "session_id": self.session_id}


class Executions:
    """Governed executions, running and past."""

    def __init__(
        self, sandbox: SandboxPort[Any], grants: Grants, quotas: Quotas, halts: Halts, log: ExecutionLog, clock: Clock,
        metrics: Metrics, supervisor: Supervisor, settings: GovernanceSettings,
    ) -> None:  # fmt: skip
        self._sandbox = sandbox
        self._grants = grants
        self._quotas = quotas
        self._settings = settings
        self._log = log
        self._halts = halts
        self._clock = clock
        self._metrics = metrics
        self._supervisor = supervisor
        self._running: dict[str, Running] = {}
        self.admissions: Admissions | None = None
        self.withdraw: Withdraw | None = None

    async def open(self) -> None:
        """Say of executions that a dead daemon left behind what is true of them."""
        for execution_id in await self._log.unfinished():
            await self._log.lost(execution_id)

    async def drain(self, longest_s: float) -> None:
        """Let what runs come to its end; cancel what takes longer, and wait until all of it is written down."""
        tasks = [running.task for running in self._running.values() if running.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=longest_s)
        for execution_id in list(self._running):
            self._sandbox.cancel(execution_id)
        await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self, owner: str) -> None:
        """End all that runs for an identity."""
        for running in [one for one in self._running.values() if one.caller.owner == owner]:
            self._sandbox.cancel(running.id)

    async def run(
        self, request: ExecutionRequest, caller: Caller, *, query_id: str | None = None, under: Permit | None = None
    ) -> Execution:
        """Run code for a caller. Refusals raise; whatever the code did is an `Execution`.

        `under` is the permit of the plugin that runs it. A caller that is cancelled takes the program down with it.
        """
        running, permit, facts = await self._permitted(request, caller, query_id, under)
        return await self._run(running, permit, facts)

    async def start(
        self, request: ExecutionRequest, caller: Caller, listener: Progress | None = None, *,
        session_id: str | None = None, under: Permit | None = None,
    ) -> Running:  # fmt: skip
        """Begin to run code, and answer when it has a place in the queue and is written down.

        `under` is the permit of the session. Refusals raise if they come by then.
        """
        running, permit, facts = await self._permitted(request, caller, None, under, waits=session_id is None)
        running.listener, running.session_id = listener, session_id
        facts |= {"session_id": session_id} if session_id else {}
        running.task = self._supervisor.child("execution", self._end(running, permit, facts))
        either: list[asyncio.Future[Any]] = [running.task, running.accepted]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if running.task.done() and isinstance(fault := running.task.result(), OrchestratorError):
            raise fault
        return running

    async def perform(self, admission: JsonObject, basis: Basis) -> bytes:
        """Run what a person has approved; its `Execution`, as JSON. Raises what keeps it from starting."""
        request = ExecutionRequest.model_validate_json(await self._log.request(admission["request_ref"]))
        caller, execution_id = caller_of(admission), admission["id"]
        await self._log.forget(execution_id)  # an earlier attempt
        running = Running(execution_id, self._sandbox.admit(request), caller, admission["created_at"])
        permit = self._grants.resting_on(basis, EXECUTE, execution_id, caller)
        facts = {"key_id": caller.key_id, "query_id": None, "source": caller.source, "permit_id": permit.id}
        outcome = await self._run(running, permit, {**facts, "approved_by": permit.approved_by})
        return outcome.model_dump_json().encode()

    async def cancel(self, execution_id: str, caller: Caller) -> Execution:
        """End an execution and answer how it ended; one that has ended stays as it is. Raises `NotFound`."""
        running = self._running.get(execution_id)
        if running is not None and not caller.sees(running.caller.owner):
            raise NotFound("no such execution")
        if running is not None:
            self._sandbox.cancel(execution_id)
            await running.ended.wait()
        command = None if self.admissions is None else await self.admissions.find(execution_id, caller)
        if command is not None and self.withdraw is not None and stands(command):
            await self.withdraw(command["id"], caller.owner, "cancelled by who asked")
        return await self.get(execution_id, caller)

    async def get(self, execution_id: str, caller: Caller) -> Execution:
        """One execution with its outputs. Raises `NotFound` for another's, too."""
        running = self._running.get(execution_id)
        if running is not None and caller.sees(running.caller.owner):
            return running.view()
        try:
            return await self._log.get(execution_id, caller)
        except NotFound:
            command = None if self.admissions is None else await self.admissions.find(execution_id, caller)
            if command is None:
                raise
            return _waiting(execution_id, command)

    async def page(
        self, caller: Caller, *, limit: int, before: str | None = None, subject: str | None = None
    ) -> list[dict[str, Any]]:
        """Executions without their outputs, newest first."""
        rows = await self._log.page(caller, limit=limit, before=before, subject=subject)
        for row in rows:
            if (running := self._running.get(row["id"])) is not None:
                row |= {"status": running.now, "isolation": running.request.isolation, "owner": running.caller.owner}
        return rows

    async def _permitted(
        self, request: ExecutionRequest, caller: Caller, query_id: str | None, under: Permit | None = None,
        *, waits: bool = False,
    ) -> tuple[Running, Permit, dict[str, Any]]:  # fmt: skip
        """What is admitted and allowed. Raises `ApprovalRequired` where it `waits` for a person, else `NoGrant`."""
        facts: dict[str, Any] = {"key_id": caller.key_id, "query_id": query_id, "source": caller.source}
        execution_id, created_at, hold = new_id(), rfc3339(self._clock.now()), None
        try:
            admitted = self._sandbox.admit(request)
            if query_id is None and under is None:  # what runs comes to its end, with the code that it wants run
                self._halts.check()
            most = prices.most_of_code(admitted.limits, len(request.cases or [1]), self._settings)
            hold = await self._quotas.admit(caller, most)
            permit = await self._grants.execution_permit(execution_id, caller, request.isolation, most, under)
        except NoGrant as missing:
            self._quotas.settle(hold, Cost())
            if self.admissions is None or not waits:
                await self._log.refused(execution_id, caller, facts, missing, None)
                raise
            raise await self.admissions.execution(execution_id, request, caller, most, created_at) from None
        except OrchestratorError as fault:
            self._quotas.settle(hold, Cost())
            await self._log.refused(execution_id, caller, facts, fault, None)
            raise
        running = Running(execution_id, admitted, caller, created_at)
        running.hold = hold
        facts |= {"permit_id": permit.id, "approved_by": permit.approved_by}
        return running, permit, facts

    async def _run(self, running: Running, permit: Permit, facts: dict[str, Any]) -> Execution:
        """Run it while its start is being written down; it counts as ended when its end is."""
        caller, cost = running.caller, Cost()
        self._running[running.id] = running
        begun = self._log.begin(
            running.id, running.created_at, running.request, running.admitted.limits, caller, permit, facts
        )
        begun.add_done_callback(lambda done: self._begun(running, done))
        try:
            outcome = await self._sandbox.run(
                running.id, running.admitted, owner=caller.owner, key_id=caller.key_id, permit=permit, progress=running,
                session_id=running.session_id,
            )  # fmt: skip
            if running.hold is not None:
                cost = prices.of_code(outcome, running.admitted.limits, self._settings)
            await begun
            outcome = running.complete(outcome)
            await self._log.finish(outcome, running.admitted.limits, caller, permit, facts)
        except OrchestratorError as fault:
            await begun
            await self._log.refused(running.id, caller, facts, fault, permit)
            raise
        finally:
            self._quotas.settle(running.hold, cost)
            del self._running[running.id]
            running.ended.set()
        self._metrics.executions.labels(outcome.status, running.request.isolation).inc()
        self._metrics.execution_seconds.observe(outcome.usage.wall_ms / 1000)
        return outcome

    async def _end(self, running: Running, permit: Permit, facts: dict[str, Any]) -> Execution | OrchestratorError:
        """Run it for nobody in particular: a refusal is an answer, too."""
        try:
            return await self._run(running, permit, facts)
        except OrchestratorError as fault:
            return fault

    def _begun(self, running: Running, written: "asyncio.Future[None]") -> None:
        """What cannot be written down does not run on."""
        if written.cancelled() or written.exception() is not None:
            self._sandbox.cancel(running.id)
        else:
            running.written()


def _waiting(execution_id: str, command: Mapping[Any, Any]) -> Execution:
    """An execution that waits for a person, or that he has refused."""
    told = {"id": execution_id, "created_at": command["asked_at"]}
    if not stands(command):
        code = command["decision"] or command["status"]
        return Execution(**told, status="cancelled", reason=f"It was not run: its command {command['id']} was {code}.")
    approved = command["status"] in ("approved", "executing")
    why = f"The command {command['id']} awaits a person's approval."
    return Execution(**told, status="queued") if approved else Execution(**told, status="awaiting_approval", reason=why)
