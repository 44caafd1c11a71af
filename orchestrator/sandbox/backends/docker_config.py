"""The walls of one container, in the engine's own words (CONTRACT 4 "Always", R2-17)."""

from typing import Any

from orchestrator.sandbox import seccomp
from orchestrator.sandbox.backends import gvisor, walls, worker
from orchestrator.sandbox.jobs import ENVIRONMENT, WorkerClass
from orchestrator.sandbox.settings import SandboxSettings

NETWORK = "orchestrator-dev"
"""The bridge that jobs are put on in development mode, where a setting allows it (R2-14)."""


def container(settings: SandboxSettings, kind: WorkerClass, labels: dict[str, str], uids: range) -> dict[str, Any]:
    """The body of the engine's `POST /containers/create`; `uids` are those that its jobs take turns at."""
    separate = settings.kernel == "separate"
    host = _host(settings, kind)
    return {
        "Image": kind.image,
        "Entrypoint": worker.command(settings, uids, "host" if separate else "group"),
        "Env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
        "Hostname": "sandbox",
        "User": "0:0",
        "WorkingDir": "/",
        "AttachStdin": True, "AttachStdout": True, "AttachStderr": True,
        "OpenStdin": True, "StdinOnce": True, "Tty": False,
        "Labels": labels,
        "HostConfig": gvisor.adapt(host, kind) if separate else host,
    }  # fmt: skip


def _host(settings: SandboxSettings, kind: WorkerClass) -> dict[str, Any]:
    return {
        "NetworkMode": NETWORK if settings.allow_network else "none",
        "Runtime": settings.runtime,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "CapAdd": list(walls.CAPABILITIES),
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp.profile(settings.runtime)}"],
        "MaskedPaths": list(walls.MASKED),
        "ReadonlyPaths": list(walls.READ_ONLY),
        "Memory": kind.memory_bytes,
        "MemorySwap": kind.memory_bytes,  # memory and swap together, so no swap
        "PidsLimit": kind.pids,
        "NanoCpus": int(settings.cpus * 1e9),
        "Tmpfs": walls.tmpfs(settings, kind),
        "IpcMode": "none",
        "CgroupnsMode": "private",
        "LogConfig": {"Type": "none", "Config": {}},
        "Dns": ["127.0.0.1"], "DnsSearch": ["."], "DnsOptions": [],
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,  # its state is evidence; the service removes it
    }  # fmt: skip
