"""Process 1 of a container: takes one job, lets a child become it, watches it, tells the evidence, ends.

It is root without rights: SETUID, SETGID and KILL alone, under the container's own system call filter. It trusts the
host, and nothing that the job does: the nonce that marks its frames is read only after the fork, so that no copy of it
is in the job's memory, and the job holds no descriptor of the stream.
"""

import sys

_ORDINARY = set(sys.modules)  # what any interpreter has loaded at its start; a job sees no more

import gc  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import struct  # noqa: E402
from typing import Any  # noqa: E402

import become  # noqa: E402
import frames  # noqa: E402
import place  # noqa: E402
from counters import Counters  # noqa: E402
from watch import Watch  # noqa: E402

VERSION = 1
_LENGTH = struct.Struct("<I")


def main() -> list[str] | None:
    """Serve one job. In the child, answers the program's arguments, for what follows is the program's."""
    if os.getpid() != 1:
        raise SystemExit("this is process 1 of a container; anywhere else it would kill what is not its own")
    counters = Counters()
    wake = _wake_at_child_end()
    hello = {"version": VERSION, "cgroup": counters.version, "python": ".".join(map(str, sys.version_info[:3]))}
    frames.write_frame(1, frames.HELLO, frames.NO_NONCE, json.dumps(hello).encode())
    gc.freeze()  # what is here now is the runner's: a job's collections need not look at it
    job, parts = _take_job()
    try:
        place.prepare(job["uid"], parts)
        stdin = _stdin([content for role, _, content in parts if role == "stdin"])
    except OSError as fault:
        return _refuse(fault)
    del parts
    return _fork(job, stdin, counters, wake)


def _take_job() -> tuple[dict[str, Any], list[place.Part]]:
    """The job's frame: the length of a JSON header, the header, then the bytes of its parts in the header's order."""
    _, _, payload = frames.read_frame(0)
    view = memoryview(payload)
    end = _LENGTH.size + _LENGTH.unpack_from(payload)[0]
    job = json.loads(bytes(view[_LENGTH.size : end]))
    parts = []
    for role, path, size in job["parts"]:
        parts.append((role, path, view[end : end + size]))
        end += size
    return job, parts


def _fork(job: dict[str, Any], stdin: int, counters: Counters, wake: int) -> list[str] | None:
    """Fork; the child waits at a gate until the parent watches, so that no limit misses its first instant."""
    out, err = place.as_user(job["uid"], lambda: (os.pipe(), os.pipe()))  # its own, so it may open /dev/stdout
    gate = os.pipe()
    leader = os.fork()
    if leader == 0:
        os.close(gate[1])
        os.read(gate[0], 1)
        become.become(job["uid"], job["limits"]["open_files"], job["env"], (stdin, out[1], err[1]))
        arguments: list[str] = job["args"]
        return arguments
    for fd in (out[1], err[1], gate[0], stdin):
        os.close(fd)
    _, nonce, _ = frames.read_frame(0)
    watch = Watch(leader, job["limits"], job["cpus"], counters, nonce)
    watch.add_output(out[0], "stdout", frames.STDOUT)
    watch.add_output(err[0], "stderr", frames.STDERR)
    frames.write_frame(1, frames.STARTED, nonce)
    os.close(gate[1])
    evidence = watch.until_end(wake)
    frames.write_frame(1, frames.RESULT, nonce, json.dumps(evidence).encode())
    return None


def _refuse(fault: OSError) -> None:
    """Say that the job's files do not fit, before anything of it ran."""
    _, nonce, _ = frames.read_frame(0)
    frames.write_frame(1, frames.RESULT, nonce, json.dumps({"refused": os.strerror(fault.errno or 0)}).encode())


def _stdin(given: list[memoryview]) -> int:
    """A descriptor that reads what was given, then its end; at its end at once if nothing was."""
    if not given:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    fd = os.memfd_create("stdin")
    place.write_all(fd, given[0])
    readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(fd)
    return readable


def _wake_at_child_end() -> int:
    """A descriptor that becomes readable when a child ends."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return readable


if __name__ == "__main__":
    try:
        arguments = main()
    except frames.HostGone:
        os._exit(0)  # and the kernel ends whatever is left in the container with its process 1
    if arguments is not None:
        become.run_script(arguments, set(sys.modules) - _ORDINARY)
