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
from functools import partial  # noqa: E402
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
    job, intake = _take_header()
    try:
        stdin = _place(job, intake)
    except OSError as fault:
        intake.skip()
        return _refuse(f"its files could not be written: {os.strerror(fault.errno or 0)}")
    return _fork(job, stdin, counters, wake)


def _take_header() -> tuple[dict[str, Any], frames.Intake]:
    """The head of the job's frame: the length of a JSON header, then the header; its parts follow in its order."""
    _, size, _ = frames.HEADER.unpack(frames.read_exactly(0, frames.HEADER.size))
    (head,) = _LENGTH.unpack(frames.read_exactly(0, _LENGTH.size))
    job: dict[str, Any] = json.loads(frames.read_exactly(0, head))
    return job, frames.Intake(0, size - _LENGTH.size - head)


def _place(job: dict[str, Any], intake: frames.Intake) -> int:
    """Put each part where it belongs; the job's standard input, which is at its end at once if none was given."""
    place.prepare(job["uid"])
    stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    for role, path, size in job["parts"]:
        if role == "program":
            place.receive_program(intake, size)
        elif role == "stdin":
            stdin = place.receive_stdin(intake, size)
        else:
            place.as_user(job["uid"], partial(place.receive_file, intake, size, path))
    return stdin


def _fork(job: dict[str, Any], stdin: int, counters: Counters, wake: int) -> list[str] | None:
    """Fork; the child becomes the job, says so, and waits at a gate until the parent watches.

    So a child that cannot give up its rights is told from a program that fails, and no limit misses the first instant.
    """
    out, err = place.as_user(job["uid"], lambda: (os.pipe(), os.pipe()))  # its own, so it may open /dev/stdout
    ready, gate = os.pipe(), os.pipe()
    leader = os.fork()
    if leader == 0:
        become.become(job["uid"], job["limits"]["open_files"], job["env"], (stdin, out[1], err[1], ready[1], gate[0]))
        arguments: list[str] = job["args"]
        return arguments
    for fd in (out[1], err[1], ready[1], gate[0], stdin):
        os.close(fd)
    if not os.read(ready[0], 1):
        return _refuse("the runner could not give up its rights")
    _, nonce, _ = frames.read_frame(0)
    watch = Watch(leader, job["limits"], job["cpus"], counters, nonce)
    watch.add_output(out[0], "stdout", frames.STDOUT)
    watch.add_output(err[0], "stderr", frames.STDERR)
    frames.write_frame(1, frames.STARTED, nonce)
    os.close(gate[1])
    evidence = watch.until_end(wake)
    frames.write_frame(1, frames.RESULT, nonce, json.dumps(evidence).encode())
    return None


def _refuse(reason: str) -> None:
    """Say why the job was not begun."""
    _, nonce, _ = frames.read_frame(0)
    frames.write_frame(1, frames.RESULT, nonce, json.dumps({"refused": reason}).encode())


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
