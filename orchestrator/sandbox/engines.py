"""Which Docker engine, in the order in which its own client looks: setting, environment, context, rootless, system."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import docker
from docker.context import ContextAPI
from docker.errors import DockerException

from orchestrator.contracts.errors import Unavailable

_ANY = "1.41"  # not sent when the engine is asked for its own version
_KNOCK_S = 5.0
_SYSTEM = ("/run/docker.sock", "/var/run/docker.sock")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine may be, and what says so."""

    url: str
    source: str


def candidates(setting: str | None, env: Mapping[str, str], home: Path, uid: int, context: str | None) -> list[Address]:
    """The addresses to look at, best first. One that a person named is the only one: it is never passed over."""
    if setting:
        return [Address(setting, "the setting sandbox.docker_host")]
    if named := env.get("DOCKER_HOST"):
        return [Address(named, "DOCKER_HOST")]
    if context:
        return [Address(context, "the Docker context")]
    runtime = env.get("XDG_RUNTIME_DIR", f"/run/user/{uid}")
    rootless = [Path(runtime, "docker.sock"), home / ".docker/run/docker.sock"]
    return [Address(f"unix://{path}", "the rootless socket") for path in rootless] + [
        Address(f"unix://{path}", "the system socket") for path in _SYSTEM
    ]


def find(setting: str | None) -> Address:
    """The engine's address. Raises `Unavailable`, saying where it was looked for, if there is none."""
    places = candidates(setting, os.environ, Path.home(), os.getuid(), _context())
    for place in places:
        path = urlsplit(place.url)
        if path.scheme != "unix" or Path(path.path).is_socket():
            return place
    looked = ", ".join(dict.fromkeys(place.url for place in places))
    raise Unavailable(f"no Docker engine answers: no socket at {looked}")


def connect(address: Address, timeout_s: float) -> docker.APIClient:
    """A client of the engine, which has just answered. Raises `Unavailable`."""
    if urlsplit(address.url).scheme not in ("unix", "tcp", "http"):
        raise Unavailable(f"{address.source} names {address.url}; use a unix:// or tcp:// address")
    knock(address)
    asking = _client(address, timeout_s, _ANY)
    try:
        spoken = asking.version(api_version=False)["ApiVersion"]
    except (DockerException, OSError) as fault:
        raise Unavailable(f"the Docker engine at {address.url} ({address.source}) does not answer: {fault}") from fault
    finally:
        asking.close()
    return _client(address, timeout_s, spoken)


def knock(address: Address) -> None:
    """See that something listens there. Raises `Unavailable`; the client's own library would leave a socket open."""
    parts = urlsplit(address.url)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(_KNOCK_S)
                door.connect(parts.path)
        else:
            socket.create_connection((parts.hostname or "", parts.port or 2375), _KNOCK_S).close()
    except OSError as fault:
        raise Unavailable(f"the Docker engine at {address.url} ({address.source}) does not answer: {fault}") from fault


def _client(address: Address, timeout_s: float, version: str) -> docker.APIClient:
    return docker.APIClient(base_url=address.url, version=version, timeout=timeout_s)  # type: ignore[arg-type]


def _context() -> str | None:
    """The address of the chosen context, unless that is the default one."""
    try:
        chosen = ContextAPI.get_current_context()
    except Exception as fault:  # the library raises its bare class where the named context is not there
        raise Unavailable(f"the Docker context cannot be read: {fault}") from fault
    return str(chosen.Host) if chosen is not None and chosen.Name != "default" and chosen.Host else None
