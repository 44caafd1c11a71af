"""Process 1 of a container: keeps a child ready, lets it become a job, watches it, tells the evidence.

It is root without rights: SETUID, SETGID and KILL alone, under the container's own system call filter. It trusts the
host, and nothing that a job does: each child is forked before the nonce that marks its frames has arrived, and the job
holds no descriptor of the stream. A container that is used once ends after its job; a cell is wiped and goes on.
"""

from __future__ import annotations

import sys

_ORDINARY = set(sys.modules)  # what any interpreter has loaded at its start; a job sees no more

import _signal  # noqa: E402 - the public module brings in `enum` and `re`, whose memory each fork would copy
import gc  # noqa: E402
import os  # noqa: E402

import embryo  # noqa: E402
import frames  # noqa: E402
import listing  # noqa: E402
import place  # noqa: E402
import residue  # noqa: E402
import script  # noqa: E402
from counters import Counters  # noqa: E402
from watch import Watch  # noqa: E402

VERSION = 2
_UNCOUNTED = {"group": None, "runner": 1, "host": 2}
"""By who counts: processes of a job's limit that are not its user's: the runner, and in gVisor the job's leader."""


class Runner:
    """Serves one job after another. Its loop returns in a child that shall become a job, and never in the parent."""

    def __init__(self, first_uid: int, uids: int, milli_cpus: int, counted_by: str) -> None:
        """`counted_by` says who counts what a job uses, as `Counters` has it."""
        self._uids = [first_uid + number for number in range(uids)]
        self._milli_cpus = milli_cpus
        self._counters = Counters(counted_by)
        self._wake = _wake_at_child_end()

    def serve(self) -> None:
        """Serve until the host hangs up (`HostGone`) or something is in doubt (`Doubt`, `OSError`)."""
        served = 0
        while True:
            uid = self._uids[served % len(self._uids)]
            place.furnish(uid)
            child = embryo.Embryo(uid)
            if child.fork():
                return
            self._greet()
            self._attend(child)
            child.close()
            residue.remove(uid)
            served += 1

    def _greet(self) -> None:
        python = ".".join(map(str, sys.version_info[:3]))
        facts: dict[str, object] = {"version": VERSION, "cgroup": self._counters.version, "python": python}
        frames.write(1, frames.HELLO, frames.NO_NONCE, frames.lines(facts))

    def _attend(self, child: embryo.Embryo) -> None:
        """Run one job to its end, then answer what the host asks of its files, until it wants the place wiped.

        Where the job is a session, its next pieces come in between.
        """
        asked = _next_job()
        while asked.kind != frames.WIPE:
            if asked.kind == frames.JOB and child.alive:
                self._run(asked, child)
            else:
                _answer(asked, child.uid)
            asked = frames.Intake(0)
        if asked.exactly(1) == b"a":
            place.remove_program()
        if child.alive:
            raise residue.Doubt("a process waits for its next piece")

    def _run(self, intake: frames.Intake, child: embryo.Embryo) -> None:
        nonce = intake.nonce
        try:
            brief = _place(intake, child)
        except OSError as fault:
            intake.skip()
            reason = f"its files could not be written: {os.strerror(fault.errno or 0)}"
            frames.write(1, frames.REFUSED, nonce, reason.encode())
            return
        told, outbox = embryo.Brief(brief), frames.Outbox(1, nonce)
        watch = Watch(child.pid, told.limits, self._milli_cpus, self._counters, outbox, self._wake)
        watch.add_output(child.stdout, "stdout", frames.STDOUT)
        watch.add_output(child.stderr, "stderr", frames.STDERR)
        if told.session:
            watch.add_word(child.done)
        outbox.put(frames.STARTED)
        frames.write(child.brief, frames.JOB, frames.NO_NONCE, brief)
        if child.rests:
            os.kill(child.pid, _signal.SIGCONT)  # and never else: a job may have stopped itself already
        evidence = watch.until_end()
        child.alive = child.rests = bool(evidence["alive"])
        if child.alive and watch.said is not None and watch.said[1]:
            outbox.put(frames.VALUE, watch.said[2:])
        outbox.put(frames.RESULT, frames.lines(evidence))
        outbox.flush()


def _next_job() -> frames.Intake:
    """The host's next word, which has to be a job."""
    while (intake := frames.Intake(0)).kind != frames.JOB:
        if intake.kind != frames.CANCEL:  # one that crossed a job's end
            raise residue.Doubt(f"a frame of kind {intake.kind} out of turn")
        intake.skip()
    return intake


def _place(intake: frames.Intake, child: embryo.Embryo) -> bytes:
    """Put program, input and files where they belong; the child's brief."""
    brief = b""
    while intake.left:
        role, name, size = intake.part()
        if role == frames.PROGRAM:
            place.receive_program(intake, size, name.decode())
        elif role == frames.FILE:
            place.receive_file(intake, size, name, child.uid)
        elif role == frames.STDIN:
            place.receive_stdin(intake, size, child.stdin)
        else:
            brief = intake.exactly(size)
    return brief


def _answer(asked: frames.Intake, uid: int) -> None:
    """Tell the host about the files of a job that has ended."""
    if asked.kind == frames.LIST:
        listing.tell_entries(uid, asked.nonce)
    elif asked.kind == frames.READ:
        most = int.from_bytes(asked.exactly(8), "little")
        listing.tell_content(uid, asked.nonce, asked.exactly(asked.left), most)
    elif asked.kind == frames.WRITE:
        _write(asked, uid)
    elif asked.kind == frames.CANCEL:
        asked.skip()  # it crossed the job's end
    else:
        raise residue.Doubt(f"a frame of kind {asked.kind} out of turn")


def _write(asked: frames.Intake, uid: int) -> None:
    """Take a file of a session at rest: the length of its path (2 bytes), the path, the content."""
    path = asked.exactly(int.from_bytes(asked.exactly(2), "little"))
    try:
        place.receive_file(asked, asked.left, path, uid)
    except OSError as fault:
        asked.skip()
        frames.write(1, frames.REFUSED, asked.nonce, os.strerror(fault.errno or 0).encode())
    else:
        frames.write(1, frames.RESULT, asked.nonce)


def _wake_at_child_end() -> int:
    """A descriptor that becomes readable when a child ends."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    _signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    return readable


if __name__ == "__main__":
    if os.getpid() != 1:
        raise SystemExit("this is process 1 of a container; anywhere else it would kill what is not its own")
    os.environ.clear()  # nothing of it is a job's
    embryo.forget_what_is_freed()
    gc.freeze()  # what is here now is the runner's: a job's collections need not look at it
    try:
        *numbers, counted_by = sys.argv[1:5]
        if counted_by == "host":
            place.move_aside()
        Runner(*map(int, numbers), counted_by=counted_by).serve()
    except frames.HostGone:
        os._exit(0)  # and the kernel ends whatever is left in the container with its process 1
    except residue.Doubt as doubt:
        sys.stderr.write(f"{doubt}\n")
        sys.stderr.flush()
        os._exit(1)
    told = embryo.take_brief()
    embryo.become(told, uncounted=_UNCOUNTED[counted_by])
    if told.command:
        for ignored in (_signal.SIGPIPE, _signal.SIGXFSZ):
            _signal.signal(ignored, _signal.SIG_DFL)  # the interpreter ignores both, and it is inherited
        os.execve(told.command[0], [*told.command, *map(os.fsencode, told.args)], os.environb)  # noqa: S606 - the job
    if told.session:
        import session  # what it stands on is half as much again as the runner

        session.run(told, f"{place.PROGRAM}/main.py", place.WORK, set(sys.modules) - _ORDINARY)
    script.run(f"{place.PROGRAM}/main.py", place.WORK, told.args, set(sys.modules) - _ORDINARY)
