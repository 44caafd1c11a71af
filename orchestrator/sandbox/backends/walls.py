"""The walls of every worker, whoever builds them (CONTRACT 4 "Always"): rights, places to write to, hidden files."""

from orchestrator.sandbox.jobs import WorkerClass
from orchestrator.sandbox.settings import SandboxSettings

PROGRAM_TMPFS_BYTES = 20 * 2**20
"""Room for the largest program (16 MiB); a job cannot write there, and what is used counts as its memory."""

CAPABILITIES = ("SETUID", "SETGID", "KILL")
"""What the runner keeps; the job has none."""

MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/config.gz", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/keys",
    "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/modules", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/vmallocinfo", "/sys/devices/virtual/powercap",
    "/sys/firmware", "/sys/kernel",
)  # fmt: skip
"""What tells of the machine and is nobody's business; not every kernel has all of it."""

READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What may be read, and not even the runner may write."""

PLACES = ("/box", "/program", "/dev/shm")  # noqa: S108 - mounts of the container
"""What can be written: the job's own place, its program's (by the runner alone), shared memory."""


def tmpfs(settings: SandboxSettings, kind: WorkerClass) -> dict[str, str]:
    """The mount options of each place that can be written."""
    options = (
        f"rw,exec,nosuid,nodev,mode=1777,size={kind.disk_bytes},nr_inodes={kind.inodes}",
        f"rw,noexec,nosuid,nodev,mode=755,size={PROGRAM_TMPFS_BYTES},nr_inodes=8",
        f"rw,noexec,nosuid,nodev,mode=1777,size={settings.shm_bytes},nr_inodes=1024",
    )
    return dict(zip(PLACES, options, strict=True))
