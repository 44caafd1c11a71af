"""The job's first process before there is a job: it has given up every right and waits for word what to become.

It is forked before anything of a job has arrived, so no copy of a nonce, a program or an input is in its memory.
"""

from __future__ import annotations

import _signal
import ctypes
import fcntl
import os
import resource
import struct

import frames
import place

_PR_SET_DUMPABLE = 4
_CAPABILITIES_V3, _NONE = struct.pack("=II", 0x20080522, 0), bytes(24)  # three sets of 64, of this process
_DONE, _BRIEF = 3, 4
_CLEAR_OF_ALL = 32
_M_PERTURB, _ANY_BYTE = -6, 0xA5
_libc = ctypes.CDLL(None, use_errno=True)
_mallopt, _capset, _prctl = _libc.mallopt, _libc.capset, _libc.prctl  # looked up here, not in each child anew


class Embryo:
    """The parent's side: the child's id, its user, and the other ends of its descriptors."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.pid = 0
        self.alive = False
        self.rests = False
        self.stdout, out = _own_pipe(uid)
        self.stderr, err = _own_pipe(uid)
        self.done, done = os.pipe()
        brief, self.brief = os.pipe()
        self.stdin = os.memfd_create("stdin", os.MFD_CLOEXEC)
        stdin = os.open(f"/proc/self/fd/{self.stdin}", os.O_RDONLY | os.O_CLOEXEC)
        self._others = (stdin, out, err, done, brief)

    def fork(self) -> bool:
        """Make the child. True in the child, which is then a process without rights; False in the parent.

        Raises `OSError` in the parent where the child could not give up its rights; nothing may run then.
        """
        self.pid = os.fork()
        if self.pid == 0:
            _descend(self.uid, self._others)
            return True
        for fd in self._others:
            os.close(fd)
        if not os.read(self.done, 1):
            raise OSError("the runner could not give up its rights")
        self.alive = True
        return False

    def close(self) -> None:
        """Let go of the descriptors."""
        for fd in (self.stdin, self.stdout, self.stderr, self.done, self.brief):
            os.close(fd)


def forget_what_is_freed() -> None:
    """Have libc overwrite what this process frees, so that no child is forked with data of an earlier job."""
    _mallopt(_M_PERTURB, _ANY_BYTE)


def _own_pipe(uid: int) -> tuple[int, int]:
    """A pipe that belongs to the job, so that it may open /dev/stdout."""
    return place.as_user(uid, os.pipe)


def _descend(uid: int, fds: tuple[int, ...]) -> None:
    """Give up everything, and say so. A process that cannot ends here, without that word."""
    try:
        _mallopt(_M_PERTURB, 0)  # its own memory is the job's own affair
        os.setsid()
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        _take_descriptors(fds)
        _give_up_rights(uid)
        os.chdir(place.WORK)
    except BaseException:  # noqa: BLE001 - whatever it is, nothing of the job may run
        os._exit(1)
    os.write(_DONE, b"!")


def _take_descriptors(fds: tuple[int, ...]) -> None:
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _CLEAR_OF_ALL) for fd in fds]  # first out of each other's way
    for target, source in enumerate(high):
        os.dup2(source, target, inheritable=target < _DONE)
    os.closerange(_BRIEF + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _give_up_rights(uid: int) -> None:
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    os.write(fd, b"1000")  # where memory runs out, the kernel takes the job before the runner
    os.close(fd)
    os.nice(19)  # where its processes take all of the container's share, the runner still comes first
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if _capset(_CAPABILITIES_V3, _NONE) != 0:  # a change of ids leaves those that could be inherited
        raise OSError(ctypes.get_errno(), "capset")
    if _prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0) != 0:  # else /dev/stdout and /proc/self would be root's
        raise OSError(ctypes.get_errno(), "prctl")


class Brief:
    """What to become, as the host said it: the parts of a job that are neither program nor content of files."""

    def __init__(self, data: bytes) -> None:
        self.args: list[str] = []
        self.command: list[bytes] = []
        self.env: dict[bytes, bytes] = {}
        self.limits: dict[str, int] = {}
        self.has_stdin = self.session = False
        at = 0
        while at < len(data):
            role, named, size = frames.PART.unpack_from(data, at)
            content_at = at + frames.PART.size + named
            at = content_at + size
            self._take(role, data[content_at - named : content_at], data[content_at:at])

    def _take(self, role: int, name: bytes, content: bytes) -> None:
        if role == frames.ARG:
            self.args.append(os.fsdecode(content))
        elif role == frames.COMMAND:
            self.command.append(content)
        elif role == frames.ENV:
            self.env[name] = content
        elif role == frames.LIMIT:
            self.limits[name.decode()] = int(content)
        elif role == frames.STDIN:
            self.has_stdin = True
        elif role == frames.SESSION:
            self.session = True


def take_brief() -> Brief:
    """The child's side: wait for word. The first time, nothing untrusted has run in this process yet."""
    try:
        intake = frames.Intake(_BRIEF)
        return Brief(intake.exactly(intake.left))
    except frames.HostGone:
        os._exit(0)  # the container ends without a job


def say_done(code: int, value: bytes | None) -> None:
    """The word of a session that a piece has ended: its exit code, and the value of its last expression."""
    frames.write(_DONE, frames.VALUE, frames.NO_NONCE, bytes([code, value is not None]) + (value or b""))


def become(brief: Brief, *, uncounted: int | None) -> None:
    """Take on the job's limits, environment and input; but for a session, let go of the runner's last descriptors.

    `uncounted` is for where no control group bounds its processes: the kernel counts those of a user, who is one
    container's alone, and so many are others', or were when they were made.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (brief.limits["open_files"],) * 2)
    if uncounted is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (brief.limits["pids"] - uncounted,) * 2)
    for name, value in brief.env.items():
        os.environb[name] = value
    if not brief.has_stdin and not brief.session:
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    if not brief.session:
        os.closerange(_DONE, _BRIEF + 1)
