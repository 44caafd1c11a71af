"""Which engine to use, or what stands in the way: looking and deciding, nothing is changed here (CONTRACT 0)."""

import grp
import itertools
import shlex
from dataclasses import dataclass
from pathlib import Path

from orchestrator.bootstrap import processes
from orchestrator.bootstrap.client import Answer, EngineClient, Heard
from orchestrator.bootstrap.console import Problem
from orchestrator.bootstrap.contexts import Endpoint, endpoints
from orchestrator.bootstrap.machine import Machine

# What shows that an engine is installed though none answers, and what starts it under a service manager. A `docker`
# client alone is not among these: it is no engine.
_UNITS = {
    "/etc/systemd/system/docker.service": "sudo systemctl start docker",
    "/lib/systemd/system/docker.service": "sudo systemctl start docker",
    "/usr/lib/systemd/system/docker.service": "sudo systemctl start docker",
    "/snap/bin/dockerd": "sudo snap start docker",
}
_USER_UNITS = {
    ".config/systemd/user/docker.service": "systemctl --user start docker",
    ".docker/desktop": "systemctl --user start docker-desktop",
}


@dataclass(frozen=True)
class Found:
    """An engine answers."""

    endpoint: Endpoint
    version: str


@dataclass(frozen=True)
class Startable:
    """A `dockerd` is installed, none runs, and no service manager is there to start it: `make` may."""

    dockerd: Path


@dataclass(frozen=True)
class Missing:
    """No engine is installed."""


class Denied(Problem):
    """An engine runs, and this user may not open its socket."""


Sight = Found | Startable | Missing


def look(machine: Machine) -> Sight:
    """Find the engine. Raises `Problem` with the one command that mends it where one is installed but silent."""
    heard = [(endpoint, EngineClient(endpoint).hear()) for endpoint in endpoints(machine)]
    for endpoint, said in heard:
        if said.answer is Answer.READY:
            return Found(endpoint, said.detail)
    for endpoint, said in heard:
        if endpoint.is_chosen:
            raise _chosen_is_silent(endpoint, said)
    for endpoint, said in reversed(heard):  # the system's socket says more than a stale rootless one
        if said.answer is Answer.DENIED:
            raise _denied(endpoint, machine)
        if said.answer is Answer.SILENT:
            raise _hung(endpoint, said, machine)
    return _not_answering(machine)


def _chosen_is_silent(endpoint: Endpoint, said: Heard) -> Problem:
    mend = "unset DOCKER_HOST" if endpoint.origin == "DOCKER_HOST" else "docker context use default"
    return Problem(
        f"{endpoint.origin} names the engine {endpoint.host}, and it does not answer ({said.detail}).\n"
        "Start that engine; or choose the machine's own:",
        mend=mend,
    )


def _denied(endpoint: Endpoint, machine: Machine) -> Denied:
    """The socket may not be opened. Who may is as mighty as root, so the way in is the person's to take."""
    member = machine.user in _docker_group()
    why = "yet: this login is older than its membership in docker" if member else "(group docker, which equals root)"
    return Denied(
        f"the engine at {endpoint.host} runs, and {machine.user} may not open its socket {why}",
        mend="newgrp docker" if member else f"sudo usermod -aG docker {shlex.quote(machine.user)} && newgrp docker",
    )


def _hung(endpoint: Endpoint, said: Heard, machine: Machine) -> Problem:
    mend = "sudo systemctl restart docker" if machine.has_service_manager() else "make engine-stop run"
    return Problem(f"something listens at {endpoint.host} and does not answer as an engine ({said.detail})", mend=mend)


def _not_answering(machine: Machine) -> Sight:
    for pid, argv in processes.named("dockerd", machine.at("/proc")):
        raise _elsewhere(pid, argv)
    if machine.has_service_manager():
        installed = {machine.at(path): start for path, start in _UNITS.items()}
        installed |= {machine.home / path: start for path, start in _USER_UNITS.items()}
        for path, start in installed.items():
            if path.exists():
                raise Problem(f"a Docker engine is installed ({path}) and not running", mend=start)
    dockerd = machine.which("dockerd")
    if dockerd is None:
        return Missing()
    if machine.has_service_manager():
        raise Problem(f"{dockerd} is installed without a unit that starts it", mend=f"sudo {dockerd} &")
    return Startable(dockerd)


def _elsewhere(pid: int, argv: list[str]) -> Problem:
    """A dockerd runs and listens at none of the usual addresses."""
    hosts = [value for flag, value in itertools.pairwise(argv) if flag in {"-H", "--host"}]
    hosts += [word.partition("=")[2] for word in argv if word.startswith(("--host=", "-H="))]
    usable = [host for host in hosts if host.startswith(("unix://", "tcp://"))]
    mend = f"export DOCKER_HOST={shlex.quote(usable[0])}" if usable else f"sudo kill {pid}"
    return Problem(f"a Docker engine runs (process {pid}) and answers at none of the usual addresses", mend=mend)


def _docker_group() -> list[str]:
    try:
        return grp.getgrnam("docker").gr_mem
    except KeyError:
        return []
