"""The walls of one container, in the engine's own words (CONTRACT 4 "Always", R2-17)."""

from typing import Any

from orchestrator.sandbox import seccomp
from orchestrator.sandbox.backends import gvisor
from orchestrator.sandbox.jobs import ENVIRONMENT, WorkerClass
from orchestrator.sandbox.rootfs import RUNNER_HOME
from orchestrator.sandbox.settings import SandboxSettings

PROGRAM_TMPFS_BYTES = 20 * 2**20
"""Room for the largest program (16 MiB); a job cannot write there, and what is used counts as its memory."""

NETWORK = "orchestrator-dev"
"""The bridge that jobs are put on in development mode, where a setting allows it (R2-14)."""

_CAPABILITIES = ["SETUID", "SETGID", "KILL"]  # of the runner; the job has none
_MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/config.gz", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/keys",
    "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/modules", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/vmallocinfo", "/sys/devices/virtual/powercap",
    "/sys/firmware", "/sys/kernel",
]  # fmt: skip
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def container(settings: SandboxSettings, kind: WorkerClass, labels: dict[str, str], uids: range) -> dict[str, Any]:
    """The body of the engine's `POST /containers/create`; `uids` are those that its jobs take turns at."""
    separate = settings.kernel == "separate"
    host = _host(settings, kind)
    return {
        "Image": kind.image,
        "Entrypoint": ["/usr/bin/python3", f"{RUNNER_HOME}/main.py"],
        "Cmd": [str(uids.start), str(len(uids)), str(int(settings.cpus * 1e3)), str(int(separate))],
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
        "CapAdd": _CAPABILITIES,
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp.profile(settings.runtime)}"],
        "MaskedPaths": _MASKED,
        "ReadonlyPaths": _READ_ONLY,
        "Memory": kind.memory_bytes,
        "MemorySwap": kind.memory_bytes,  # memory and swap together, so no swap
        "PidsLimit": kind.pids,
        "NanoCpus": int(settings.cpus * 1e9),
        "Tmpfs": _tmpfs(settings, kind),
        "IpcMode": "none",
        "CgroupnsMode": "private",
        "LogConfig": {"Type": "none", "Config": {}},
        "Dns": ["127.0.0.1"], "DnsSearch": ["."], "DnsOptions": [],
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,  # its state is evidence; the service removes it
    }  # fmt: skip


def _tmpfs(settings: SandboxSettings, kind: WorkerClass) -> dict[str, str]:
    """The three places that can be written: the job's own, its program's (by the runner alone), shared memory."""
    return {
        "/box": f"rw,exec,nosuid,nodev,mode=1777,size={kind.disk_bytes},nr_inodes={kind.inodes}",
        "/program": f"rw,noexec,nosuid,nodev,mode=755,size={PROGRAM_TMPFS_BYTES},nr_inodes=8",
        "/dev/shm": f"rw,noexec,nosuid,nodev,mode=1777,size={settings.shm_bytes},nr_inodes=1024",  # noqa: S108 - a mount of the container
    }
