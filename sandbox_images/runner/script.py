"""An ordinary script: how a Python program begins as `__main__`, and how it ends.

The interpreter's own end takes as long as its start, for it tears down all that it ever loaded. So the last of all exit
handlers is ours: it lets the program's own objects go in the order in which the interpreter would, and ends the process
there. Where that could make a difference (machine code of others, streams of the program's own) it leaves the end to
the interpreter.
"""

from __future__ import annotations

import _signal
import _weakref
import atexit
import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types

_PROGRAMS = ("/program/", "<session ")
_NOT_FLUSHED = 120  # the interpreter's own exit code for it
_STANDARD = os.path.dirname(os.__file__)
_BUFFERING = {"_ctypes", "readline", "_curses"}  # of the standard library: may hold output that only libc flushes
_GONE_AT_THE_END = (
    "path", "argv", "ps1", "ps2", "last_type", "last_value", "last_traceback", "path_hooks", "path_importer_cache",
    "meta_path",
)  # fmt: skip


class _Ending:
    """How the program shall end: its exit code, or the interrupt that it did not catch."""

    def __init__(self, ordinary: dict[str, types.ModuleType]) -> None:
        self.code = 0
        self.interrupted = False
        self._ordinary = ordinary
        self._streams = (sys.stdout, sys.stderr)
        atexit.register(self._last)

    def now(self) -> None:
        """End here and now where no thread is waited for and no other exit handler called; else return."""
        if "threading" not in sys.modules and atexit._ncallbacks() == 1:
            self._last()

    def _last(self) -> None:
        """The last exit handler, so what it does is nearly all that the interpreter would still do."""
        if self.interrupted:
            self._flush()
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
            os.kill(os.getpid(), _signal.SIGINT)
        own = [module for name, module in list(sys.modules.items()) if name not in self._ordinary]
        if self._streams != (sys.stdout, sys.stderr) or any(map(_foreign, own)) or not self._flush():
            return
        known = [_weakref.ref(module) for module in own if isinstance(module, type(sys))]
        del own
        for name in _GONE_AT_THE_END:
            setattr(sys, name, None)
        sys.modules.clear()
        gc.collect()
        for module in [module for ref in reversed(known) if (module := ref()) is not None]:
            _clear(vars(module))
        os._exit(self.code if self._flush() else _NOT_FLUSHED)

    def _flush(self) -> bool:
        """Flush both outputs; whether that went well. A closed one has nothing to flush."""
        try:
            for stream in self._streams:
                if not stream.closed:
                    stream.flush()
        except Exception:  # noqa: BLE001 - the interpreter tries again, and tells it in its own words
            return False
        return True


def run(path: str, work: str, args: list[str], forget: set[str]) -> None:
    """Run the program at `path`; what it raises is told as the interpreter would tell it.

    `forget` names the modules that only the runner had imported: a job's own `json.py` must win over them.
    """
    sys.argv = ["main.py", *args]
    sys.orig_argv = ["python3", *sys.argv]
    sys.path[0] = work
    namespace = main_module(path)
    kept = [sys.modules.pop(name) for name in forget]  # to let them go would be work for nothing
    ending = _Ending({name: module for name, module in sys.modules.items() if name != "__main__"})
    _execute(path, namespace, ending)
    del namespace  # from here on only the program holds what is the program's
    ending.now()
    del kept
    raise SystemExit(ending.code)


def _execute(path: str, namespace: dict[str, object], ending: _Ending) -> None:
    """Run the program, and note how it shall end."""
    try:
        exec(compile(_read(path), path, "exec", dont_inherit=True), namespace)  # noqa: S102 - what this container is for
    except SystemExit as fault:
        ending.code = exit_code(fault)
    except BaseException as fault:  # noqa: BLE001 - the end of a script that raised
        ending.interrupted = isinstance(fault, KeyboardInterrupt)
        ending.code = tell(fault)


def _read(path: str) -> bytes:
    """A whole file, without the layers that `open` puts between."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


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
    _say(code)
    return 1


def tell(fault: BaseException) -> int:
    """Print what a program raised as the interpreter would; the exit code that it means."""
    trace = own_frames(fault)
    fault = fault.with_traceback(trace)
    try:
        sys.excepthook(type(fault), fault, trace)
    except BaseException as other:  # noqa: BLE001 - the hook is the program's
        sys.stderr.write("Error in sys.excepthook:\n")
        other.__context__ = None
        sys.__excepthook__(type(other), other.with_traceback(own_frames(other)), None)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(type(fault), fault, trace)
    return 1


def own_frames(fault: BaseException) -> types.TracebackType | None:
    """The program's part of a traceback: what comes before belongs to the runner."""
    trace = fault.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith(_PROGRAMS):
        trace = trace.tb_next
    return trace


def flush() -> None:
    """Flush both outputs of a program that goes on; one that cannot be flushed is its own affair."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception as fault:  # noqa: BLE001 - whatever the program made of its streams
            _say(f"{type(fault).__name__}: the output could not be flushed")


def _clear(namespace: dict[str, object]) -> None:
    """Let the globals of a module go that something still holds, in the interpreter's order."""
    for private in (True, False):
        for name in [name for name in namespace if name != "__builtins__"]:
            if private == (name.startswith("_") and not name.startswith("__")):
                namespace[name] = None


def _foreign(module: object) -> bool:
    """Whether a module brings machine code that is not the standard library's."""
    name, path = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    return name in _BUFFERING or (isinstance(path, str) and path.endswith(".so") and not path.startswith(_STANDARD))


def _say(what: object) -> None:
    """Print to stderr as the interpreter prints an exit that is no number: what cannot be said is an empty line."""
    try:
        text = str(what)
    except Exception:  # noqa: BLE001 - its words are the program's
        text = ""
    try:
        sys.stderr.write(f"{text}\n")
    except Exception:  # noqa: BLE001 - the stream is the program's
        return
