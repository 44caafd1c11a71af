"""Processor time where no control group counts it: of the living by their clocks, of the dead as their parents heard.

It can be evaded: a child of a process that ignores SIGCHLD is forgotten with its death. So who has this counted in no
other way says that `cpu_ms` is not enforced.
"""

from __future__ import annotations

import os
import resource
import time

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_HEARD_USER, _HEARD_SYSTEM = 13, 14  # fields of /proc/PID/stat, counted from the state: what children used, once reaped


def cpu_ns() -> int:
    """Processor time of all processes but this one, in nanoseconds."""
    dead = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return int((dead.ru_utime + dead.ru_stime) * 1e9) + sum(_of(pid) for pid in living if pid != os.getpid())


def _of(pid: int) -> int:
    """A process's own clock, and what it heard of its dead children; 0 once it is gone."""
    try:
        own = time.clock_gettime_ns(~pid << 3 | 2)  # the kernel's number for the clock of a whole process
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return own + (int(fields[_HEARD_USER]) + int(fields[_HEARD_SYSTEM])) * _TICK_NS
