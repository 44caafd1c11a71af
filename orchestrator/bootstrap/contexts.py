"""Addresses of Docker engines, in the order in which they are looked for (CONTRACT 0).

`DOCKER_HOST`, the Docker context, the rootless socket, the system socket. The first two are a person's own choice;
where one is made, the rest do not count: jobs must not land on another engine than the one that was named.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.bootstrap.console import Problem
from orchestrator.bootstrap.machine import Machine

SYSTEM_SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True)
class Endpoint:
    """Where an engine may be. `host` is a URL as in `DOCKER_HOST`; `tls` the folder of `ca.pem cert.pem key.pem`."""

    origin: str  # "DOCKER_HOST", "context NAME", "rootless" or "system"
    host: str
    tls: Path | None = None

    @property
    def is_chosen(self) -> bool:
        """Whether a person named it."""
        return self.origin not in {"rootless", "system"}

    @property
    def socket(self) -> Path | None:
        """The path of a Unix socket, None for an address on a network."""
        return Path(self.host.removeprefix("unix://")) if self.host.startswith("unix://") else None

    def environment(self) -> dict[str, str]:
        """The variables that make every Docker client use this engine."""
        tls = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.tls)} if self.tls else {}
        return {"DOCKER_HOST": self.host, **tls}


def endpoints(machine: Machine) -> list[Endpoint]:
    """The addresses to try, best first: the one that was chosen, else rootless and system."""
    if host := machine.environ.get("DOCKER_HOST"):
        return [Endpoint("DOCKER_HOST", host, _tls_of_environment(machine))]
    if chosen := _context(machine):
        return [chosen]
    runtime = machine.environ.get("XDG_RUNTIME_DIR")
    rootless = machine.at(f"{runtime}/docker.sock") if runtime else None
    found = [Endpoint("rootless", f"unix://{rootless}")] if rootless and rootless.exists() else []
    return [*found, Endpoint("system", f"unix://{machine.at(SYSTEM_SOCKET)}")]


def _tls_of_environment(machine: Machine) -> Path | None:
    if not machine.environ.get("DOCKER_TLS_VERIFY"):
        return None
    return Path(machine.environ.get("DOCKER_CERT_PATH") or _folder(machine))


def _folder(machine: Machine) -> Path:
    return Path(machine.environ.get("DOCKER_CONFIG") or machine.home / ".docker")


def _context(machine: Machine) -> Endpoint | None:
    """The context that is in use, None for `default`. Raises `Problem` for one whose files are missing or broken."""
    folder = _folder(machine)
    name = machine.environ.get("DOCKER_CONTEXT") or _json(folder / "config.json").get("currentContext") or "default"
    if name == "default":
        return None
    key = hashlib.sha256(name.encode()).hexdigest()
    try:
        host = _json(folder / "contexts" / "meta" / key / "meta.json")["Endpoints"]["docker"]["Host"]
    except (KeyError, TypeError):
        raise Problem(f"the Docker context {name!r} has no engine", mend="docker context use default") from None
    tls = folder / "contexts" / "tls" / key / "docker"
    return Endpoint(f"context {name}", host, tls if tls.is_dir() else None)


def _json(file: Path) -> dict[str, Any]:
    """A JSON object from a file, empty where there is none."""
    try:
        value = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, OSError) as fault:
        raise Problem(f"{file} cannot be read ({fault}): mend or remove it", code=1) from fault
    return value if isinstance(value, dict) else {}
