"""An ordinary script: how a Python program begins as `__main__`, and how it ends.

The interpreter's own end takes as long as its start, for it tears down all that it ever loaded. What a program can
notice of an end is done here instead: threads are waited for, exit handlers called, its objects deleted, its output
flushed. Where a library outside of the standard one was loaded, the interpreter ends in its own way.
"""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from typing import NoReturn

_PROGRAMS = ("/program/", "<session ")
_NOT_FLUSHED = 120  # the interpreter's own exit code for it
_STANDARD = os.path.dirname(os.__file__)
_BUFFERING = {"_ctypes", "readline", "_curses"}  # of the standard library: may hold output that only libc flushes


def run(path: str, work: str, args: list[str], forget: set[str]) -> None:
    """Run the program at `path`; what it raises is told as the interpreter would tell it.

    `forget` names the modules that only the runner had imported: a job's own `json.py` must win over them.
    """
    sys.argv = ["main.py", *args]
    sys.orig_argv = ["python3", *sys.argv]
    sys.path[0] = work
    namespace = main_module(path)
    for name in forget:
        del sys.modules[name]
    ordinary = frozenset(sys.modules)
    code = 0
    try:
        with open(path, "rb") as file:
            source = file.read()
        program = compile(source, path, "exec", dont_inherit=True)
        del source, file, forget, args
        exec(program, namespace)  # noqa: S102 - running it is what this container is for
    except SystemExit as fault:
        code = exit_code(fault)
    except KeyboardInterrupt as fault:
        _interrupted(fault)
    except BaseException as fault:  # noqa: BLE001 - the end of a script that raised
        code = tell(fault)
    if any(map(_foreign, [module for name, module in list(sys.modules.items()) if name not in ordinary])):
        sys.exit(code)
    _end(code, namespace, ordinary)


def main_module(path: str) -> dict[str, object]:
    """A new `__main__`, and its namespace."""
    module = type(sys)("__main__")
    loader = type(sys.modules["frames"].__loader__)("__main__", path)
    vars(module).update(
        __file__=path, __loader__=loader, __builtins__=sys.modules["builtins"], __annotations__={}, __cached__=None
    )
    sys.modules["__main__"] = module
    return vars(module)


def exit_code(fault: SystemExit) -> int:
    """The exit code that `sys.exit(...)` means; what is no number is printed, as the interpreter does."""
    code = fault.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    _print_to_stderr(code)
    return 1


def tell(fault: BaseException) -> int:
    """Print what a program raised as the interpreter would; the exit code that it means."""
    trace = own_frames(fault)
    sys.excepthook(type(fault), fault.with_traceback(trace), trace)
    return 1


def own_frames(fault: BaseException) -> types.TracebackType | None:
    """The program's part of a traceback: what comes before belongs to the runner."""
    trace = fault.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(_PROGRAMS):
        trace = trace.tb_next
    return trace


def _interrupted(fault: KeyboardInterrupt) -> NoReturn:
    """Ctrl-C ends a program by its signal."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    tell(fault)
    flush()
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(1)


def _end(code: int, namespace: dict[str, object], ordinary: frozenset[str]) -> NoReturn:
    """End as the interpreter would, as far as the program can tell."""
    if (threading := sys.modules.get("threading")) is not None:
        _try(threading._shutdown)
    _try(atexit._run_exitfuncs)
    flushed = flush()
    _forget(namespace, ordinary)
    os._exit(code if flush() and flushed else _NOT_FLUSHED)


def _forget(namespace: dict[str, object], ordinary: frozenset[str]) -> None:
    """Let the program's objects go: its globals in the interpreter's order, then its modules, then its cycles."""
    for private in (True, False):
        for name in [name for name in namespace if name != "__builtins__"]:
            if private == (name.startswith("_") and not name.startswith("__")):
                namespace[name] = None
    for name in [name for name in sys.modules if name not in ordinary]:
        sys.modules.pop(name, None)
    gc.collect()


def _foreign(module: object) -> bool:
    """Whether a module brings machine code that is not the standard library's."""
    name, path = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    return name in _BUFFERING or (isinstance(path, str) and path.endswith(".so") and not path.startswith(_STANDARD))


def flush() -> bool:
    """Flush both outputs; whether that went well."""
    open_files = [file for file in (sys.stdout, sys.stderr) if hasattr(file, "flush") and not _closed(file)]
    return sum([_try(file.flush) for file in open_files]) == len(open_files)


def _closed(file: object) -> bool:
    return bool(getattr(file, "closed", False))


def _try(work: object) -> bool:
    """Call `work`; what it raises is told and harms nothing else."""
    try:
        work()  # type: ignore[operator]
    except BaseException as fault:  # noqa: BLE001 - as the interpreter does at its end
        _report(fault)
        return False
    return True


def _report(fault: BaseException) -> None:
    try:
        sys.excepthook(type(fault), fault, fault.__traceback__)
    except BaseException:  # noqa: BLE001 - there is nobody left to tell
        os._exit(_NOT_FLUSHED)


def _print_to_stderr(what: object) -> None:
    try:
        sys.stderr.write(f"{what}\n")
    except BaseException as fault:  # noqa: BLE001 - its __str__ is the program's
        _report(fault)
