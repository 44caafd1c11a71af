"""The process between the daemon and a plugin's child: it ends the child with all its offspring, come what may.

It is forked off before any plugin code is there, sleeps until the child or the daemon is gone (the daemon's death,
`kill -9` included, is the end of a pipe that only the daemon holds), kills whatever descends from it, and ends with the
child's status. Being a subreaper it inherits what a plugin detached with `setsid` and double forks. Linux only.
"""

import ctypes
import os
import select
import signal
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_DIED_OF_SIGNAL = 128


def keep(life_line: int) -> None:
    """Fork: the child returns, to become the plugin's process; the keeper never does. `life_line` is the pipe's end."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    keeper = os.getpid()
    child = os.fork()
    if child:
        os._exit(_watch(child, life_line))
    os.close(life_line)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(0)  # it was gone before the line above held


def _watch(child: int, life_line: int) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    handle = os.pidfd_open(child)
    _keep_only({handle, life_line})
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(life_line, select.POLLIN)
    poll.poll()
    return _end_offspring(child)


def _end_offspring(child: int) -> int:
    """Kill and reap until nothing descends from this process; answers the child's status as an exit code."""
    status = 0
    while offspring := _descendants(os.getpid()):
        for process in offspring:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        with suppress(ChildProcessError):
            ended, code = os.waitpid(-1, 0)
            status = code if ended == child else status
    if os.WIFSIGNALED(status):
        return _DIED_OF_SIGNAL + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _descendants(ancestor: int) -> list[int]:
    """All processes below `ancestor`, zombies included, by one look at /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                # The second field is a name in parentheses, which may itself hold blanks and parentheses.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {ancestor}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {ancestor})


def _keep_only(descriptors: set[int]) -> None:
    """Close all else: the channel of a dead child must read as ended, its output too."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) not in descriptors:
            with suppress(OSError):
                os.close(int(entry.name))


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
