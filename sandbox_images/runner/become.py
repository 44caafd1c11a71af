"""The child's side: give up every right, then be an ordinary script until the end.

What the job gets is a plain `__main__`: nothing of the runner stays in its modules, its path or its traceback.
"""

import ctypes
import fcntl
import os
import resource
import signal
import sys

import place

_PR_SET_DUMPABLE = 4
_READY, _GATE = 3, 4
_CLEAR_OF_ALL = 32
_libc = ctypes.CDLL(None, use_errno=True)


def become(uid: int, open_files: int, env: dict[str, str], fds: tuple[int, int, int, int, int]) -> None:
    """Turn this process into the job's first one: own session, own ids, no right, no descriptor but three.

    `fds` are its three streams, the pipe to say that it is done, and the gate to wait at. A process that cannot give up
    its rights ends here, without that word.
    """
    try:
        _take_descriptors(fds)
        _give_up_rights(uid, open_files)
        os.chdir(place.WORK)
        os.environ.clear()
        os.environ.update(env)
    except BaseException:  # noqa: BLE001 - whatever it is, nothing of the job may run
        os._exit(1)
    os.write(_READY, b"!")
    os.read(_GATE, 1)
    os.closerange(_READY, _GATE + 1)


def _take_descriptors(fds: tuple[int, int, int, int, int]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _CLEAR_OF_ALL) for fd in fds]  # first out of each other's way
    for target, source in enumerate(high):
        os.dup2(source, target, inheritable=target < _READY)
    os.closerange(_GATE + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _give_up_rights(uid: int, open_files: int) -> None:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")  # where memory runs out, the kernel takes the job before the runner
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0) != 0:  # else /dev/stdout and /proc/self would be root's
        raise OSError(ctypes.get_errno(), "prctl")


def run_script(args: list[str], forget: set[str]) -> None:
    """Run the program as `__main__`; what it raises is told as the interpreter would tell it.

    `forget` names the modules that only the runner had imported: a job's own `json.py` must win over them.
    """
    path = place.PROGRAM
    sys.argv = ["main.py", *args]
    sys.orig_argv = ["python3", *sys.argv]
    sys.path[0] = place.WORK
    namespace = _main_module(path)
    for name in forget:
        del sys.modules[name]
    try:
        with open(path, "rb") as file:
            source = file.read()
        code = compile(source, path, "exec", dont_inherit=True)
        del source, file, forget, args
        exec(code, namespace)  # noqa: S102 - running it is what this container is for
    except SystemExit:
        raise
    except BaseException as fault:  # noqa: BLE001 - the end of a script that raised
        _tell(fault)


def _main_module(path: str) -> dict[str, object]:
    module = type(sys)("__main__")
    loader = type(place.__loader__)("__main__", path)
    vars(module).update(
        __file__=path, __loader__=loader, __builtins__=sys.modules["builtins"], __annotations__={}, __cached__=None
    )
    sys.modules["__main__"] = module
    return vars(module)


def _tell(fault: BaseException) -> None:
    trace = fault.__traceback__ and fault.__traceback__.tb_next  # without this file's own frame
    if isinstance(fault, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.excepthook(type(fault), fault.with_traceback(trace), trace)
    if isinstance(fault, KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    raise SystemExit(1)
