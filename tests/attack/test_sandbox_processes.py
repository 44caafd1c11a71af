"""Processes: bounded, reaped, and without any hold on process 1 (ABUSE "Processes")."""

import pytest

FEW = {"pids": 16}
LATE = {"status": "timeout", "limits": {"pids": 16, "wall_ms": 400}, "hits": ("wall_ms", "pids"), "most_ms": 650}
TRY = """
import os, signal
def refused(work, *args):
    try: return f'worked: {work(*args)}'
    except OSError as fault: return type(fault).__name__
"""

CASES = {
    "a fork bomb": {"code": "import os\nwhile True: os.fork()", "limits": FEW, "status": "error", "exit_code": 1, "hits": ("pids",), "says": "BlockingIOError"},
    "a fork bomb that goes on": {"code": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", **LATE},
    "a thread bomb": {
        "code": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "limits": FEW, "status": "error", "exit_code": 1, "hits": ("pids",), "says": "can't start new thread",
    },
    "a shell bomb": {"code": "import subprocess, time\nsubprocess.Popen(['sh', '-c', 'f() { f | f & }; f'], stderr=-3)\ntime.sleep(60)", **LATE},
    "one less than the bomb": {
        "code": "import os, time\nn = 0\nwhile n < 14:\n  if os.fork() == 0: time.sleep(60)\n  n += 1\nprint(n)",
        "limits": FEW, "says": "14",
    },
    "orphans are reaped": {
        "code": """
import os, time
for _ in range(100):
    if os.fork() == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.wait()
print('done')
""",
        "limits": FEW, "says": "done",
    },
    "kill everybody": {"code": "import os\nif os.fork() == 0: os.pause() if hasattr(os, 'pause') else __import__('signal').pause()\nos.kill(-1, 9)\nprint('alone')", "says": "alone"},
    "every signal to process 1": {
        "code": TRY + "print({refused(os.kill, 1, n) for n in range(65) if n not in (32, 33)})",
        "says": "{'PermissionError'}",
    },
    "a signal by descriptor": {
        "code": TRY + "print(refused(signal.pidfd_send_signal, os.pidfd_open(1), 9))", "says": "PermissionError",
    },
    "tracing process 1": {
        "code": TRY + """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
print(libc.ptrace(16, 1, None, None), ctypes.get_errno())
""",
        "says": "-1 1",
    },
    "tracing a child of its own": {
        "code": TRY + "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(libc.ptrace(0, 0, None, None), ctypes.get_errno())",
        "says": "-1 1",
    },
    "what /proc tells of process 1": {
        "code": TRY + """
for name in ('mem', 'environ', 'maps', 'fd/0', 'root/etc', 'cwd/x', 'auxv'):
    assert refused(open, f'/proc/1/{name}') == 'PermissionError', name
assert refused(os.listdir, '/proc/1/fd') == 'PermissionError'
print('closed')
""",
        "says": "closed",
    },
    "raising one's own limits": {
        "code": """
import resource
for name in ('NOFILE', 'CORE'):
    try: resource.setrlimit(getattr(resource, 'RLIMIT_' + name), (4096, 4096))
    except (ValueError, OSError): print('refused', name)
""",
        "says": "refused NOFILE\nrefused CORE",
    },
    "a higher priority": {"code": TRY + "print(refused(os.nice, -5), refused(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(9)))", "says": "PermissionError PermissionError"},
    "becoming root again": {
        "code": TRY + "print(*(refused(f, 0) for f in (os.setuid, os.setgid, os.seteuid)), refused(os.setgroups, [0]))",
        "says": "PermissionError PermissionError PermissionError PermissionError",
    },
    "too many open files": {
        "code": "kept = []\ntry:\n  while True: kept.append(open('/dev/null'))\nexcept OSError: print(len(kept))",
        "limits": {"open_files": 20}, "says": "17",
    },
    "own process group and session": {"code": "import os; print(os.getpid() == os.getpgrp() == os.getsid(0))", "says": "True"},
}  # fmt: skip


@pytest.mark.engine
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_processes(attack, case):
    """R2-17: the cgroup counts all, process 1 reaps all, and the job has no right over anybody."""
    await attack(**case)
