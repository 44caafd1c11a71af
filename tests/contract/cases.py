"""Programs and what CONTRACT 4 says of each: verdicts, limits and walls, the same for every backend."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

MIB = 2**20


@dataclass(frozen=True)
class Seen:
    """What is right: the deciding members of an execution, and words of its output. `why` is for what differs."""

    status: str = "ok"
    exit_code: int | None = None
    signal: str | None = None
    hits: AbstractSet[str] = frozenset()
    says: str = ""
    why: str = ""


@dataclass(frozen=True)
class Case:
    """One program, the limits that it runs under, further fields of its request, and what is right."""

    code: str
    seen: Seen = field(default_factory=Seen)
    limits: dict[str, int] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)


def _error(code: int, *hits: str, says: str = "") -> Seen:
    return Seen("error", exit_code=code, hits=set(hits), says=says)


def _refuses(call: str) -> Case:
    """A program whose call the kernel or the walls refuse."""
    return Case(
        f"import ctypes, os, socket\nlibc = ctypes.CDLL(None, use_errno=True)\ntry: print('worked', {call})\n"
        "except OSError as fault: print('refused', fault)",
        Seen(says="refused"),
    )


def _syscall(number: int, *args: int) -> Case:
    """A system call that answers EPERM, by number; those of x86-64 alone are asked for there."""
    words = ", ".join(f"ctypes.c_long({value})" for value in (number, *args))
    return Case(
        "import ctypes, platform\nlibc = ctypes.CDLL(None, use_errno=True)\nlibc.syscall.restype = ctypes.c_long\n"
        f"print('refused' if platform.machine() != 'x86_64' or (libc.syscall({words}), ctypes.get_errno()) == (-1, 1) else 'worked')",
        Seen(says="refused"),
    )


FORK_UNTIL_REFUSED = """
import os, time
made = 0
try:
    while made < {most}:
        if os.fork() == 0: time.sleep(60); os._exit(0)
        made += 1
except OSError: print('refused')
print('made', made)
"""

VERDICTS = {
    "an end of its own": Case("print(6 * 7)", Seen(says="42\n")),
    "an exit code of its own": Case("raise SystemExit(3)", _error(3)),
    "a traceback": Case("1 / 0", _error(1, says="ZeroDivisionError")),
    "the exit code of a timeout without one": Case("import os; os._exit(124)", _error(124)),
    "the exit code of a kill without one": Case("import os; os._exit(137)", _error(137)),
    "a crash": Case("import ctypes; ctypes.string_at(0)", Seen("signal", signal="SIGSEGV")),
    "a kill of its own": Case("import os; os.kill(os.getpid(), 9)", Seen("signal", signal="SIGKILL")),
    "empty code": Case(""),
    "standard input at its end": Case("import sys; print(repr(sys.stdin.read()))", Seen(says="''\n")),
    "arguments, input, environment, files": Case(
        "import os, sys\nprint(sys.argv, sys.stdin.read(), os.environ['A'], open('d/f').read())",
        Seen(says="['main.py', 'x'] in b text\n"),
        request={"args": ["x"], "stdin": "in", "env": {"A": "b"}, "files": {"d/f": "text"}},
    ),
}  # fmt: skip

LIMITS = {
    "wall time": Case("import time; time.sleep(60)", Seen("timeout", hits={"wall_ms"}), {"wall_ms": 300}),
    "wall time with signals ignored": Case(
        "import signal, time\nfor n in (1, 2, 14, 15): signal.signal(n, signal.SIG_IGN)\ntime.sleep(60)",
        Seen("timeout", hits={"wall_ms"}), {"wall_ms": 300},
    ),
    "processor time": Case("while True: pass", Seen("timeout", hits={"cpu_ms"}), {"cpu_ms": 200}),
    "processor time of children": Case(
        "import os\nfor _ in range(3): os.fork()\nwhile True: pass", Seen("timeout", hits={"cpu_ms"}), {"cpu_ms": 300},
    ),
    "processor time that hides in children nobody waits for": Case(
        """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        end = time.monotonic() + 0.03
        while time.monotonic() < end: pass
        os._exit(0)
    try: os.wait()
    except ChildProcessError: pass
""",
        Seen("timeout", hits={"cpu_ms"}), {"cpu_ms": 300, "wall_ms": 8_000},
    ),
    "memory": Case("x = b'x' * 2**29", Seen("oom", hits={"memory_bytes"})),
    "memory in small pieces": Case("x = []\nwhile True: x.append(b'x' * 5000)", Seen("oom", hits={"memory_bytes"})),
    "memory in a mapping": Case(
        "import mmap\nm = mmap.mmap(-1, 2**29)\nfor at in range(0, 2**29, 4096): m[at] = 1", Seen("oom", hits={"memory_bytes"}),
    ),
    "memory in files without a name": Case(
        "import os\nfd = os.memfd_create('x')\nwhile True: os.write(fd, bytes(2**20))", Seen("oom", hits={"memory_bytes"}),
    ),
    "memory within its limit": Case("x = b'x' * (80 * 2**20); print(len(x))", Seen(says="83886080")),
    "a child that runs out of memory": Case(
        "import os\nif os.fork() == 0: x = b'x' * 2**29\nprint(os.wait()[1])", Seen(hits={"memory_bytes"}, says="9"),
    ),
    "as many processes as are allowed": Case(FORK_UNTIL_REFUSED.format(most=10), Seen(says="made 10"), {"pids": 12}),
    "one process too many": Case(
        FORK_UNTIL_REFUSED.format(most=11), Seen(hits={"pids"}, says="refused\nmade 10"), {"pids": 12},
    ),
    "one thread too many": Case(
        "import threading, time\ntry:\n  for _ in range(11): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "except RuntimeError: print('refused')",
        Seen(hits={"pids"}, says="refused"), {"pids": 12},
    ),
    "a fork bomb": Case(
        "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
        Seen("timeout", hits={"wall_ms", "pids"}), {"pids": 16, "wall_ms": 500, "memory_bytes": 256 * MIB},
    ),
    "a full disk": Case(
        "try:\n  with open('big', 'wb', buffering=0) as f:\n    while True: f.write(bytes(65536))\n"
        "except OSError as fault: import os; print(fault.errno, os.stat('big').st_size)",
        Seen(hits={"disk_bytes"}, says="28 4194304"), {"disk_bytes": 4 * MIB},
    ),
    "a disk that /tmp shares": Case(
        "import os\nwritten = 0\nfor name in ('a', '/tmp/b'):\n  try:\n    with open(name, 'wb', buffering=0) as f:\n"
        "      while written < 3 * 2**20 or name == '/tmp/b': written += f.write(bytes(65536))\n"
        "  except OSError as fault: print(fault.errno, written)",
        Seen(hits={"disk_bytes"}, says="28 4194304"), {"disk_bytes": 4 * MIB},
    ),
    "a full /dev/shm": Case(
        "try:\n  with open('/dev/shm/x', 'wb', buffering=0) as f:\n    while True: f.write(bytes(65536))\n"
        "except OSError as fault: import os; print(fault.errno, os.stat('/dev/shm/x').st_size)",
        Seen(says="28 16777216"),
    ),
    "one file too many": Case(
        "try:\n  for n in range(100): open(f'f{n}', 'w').close()\n  print('made', n)\nexcept OSError as fault: print(fault.errno)",
        Seen(hits={"inodes"}, says="28"), {"inodes": 50},
    ),
    "one open file too many": Case(
        "kept = []\ntry:\n  while True: kept.append(open('/dev/null'))\nexcept OSError as fault: print(fault.errno, len(kept))",
        Seen(says="24 "), {"open_files": 20},
    ),
    "more output than is kept": Case("print('x' * 5000)", Seen(hits={"stdout_bytes"}), {"stdout_bytes": 1_000}),
    "more errors than are kept": Case(
        "import sys; print('x' * 5000, file=sys.stderr)", Seen(hits={"stderr_bytes"}), {"stderr_bytes": 1_000},
    ),
    "a flood": Case("while True: print('x' * 65536)", Seen("output_limit", hits={"stdout_bytes"}), {"stdout_bytes": 1_000}),
}  # fmt: skip

WALLS = {
    "its own loopback": Case(
        "import socket\ns = socket.create_server(('127.0.0.1', 5000)); c = socket.create_connection(('127.0.0.1', 5000))\n"
        "c.sendall(b'42'); print(s.accept()[0].recv(2))", Seen(says="b'42'"),
    ),
    "no other interface": Case(
        "print([line.split(':')[0].strip() for line in open('/proc/net/dev').readlines()[2:]])", Seen(says="['lo']\n"),
    ),
    "no way to an address": _refuses("socket.create_connection(('192.0.2.1', 80), 2)"),
    "no way to an address of version 6": _refuses("socket.create_connection(('2001:db8::1', 80), 2)"),
    "no datagram to a name server": _refuses("socket.socket(2, 2).sendto(b'x', ('192.0.2.1', 53))"),
    "no AF_VSOCK": _refuses("socket.socket(40, 1)"),
    "no AF_ALG": _refuses("socket.socket(38, 5)"),
    "no AF_PACKET": _refuses("socket.socket(17, 3)"),
    "no AF_NETLINK": _refuses("socket.socket(16, 3)"),
    "no raw socket": _refuses("socket.socket(2, 3, 1)"),
    "no io_uring": _syscall(425, 4, 0),
    "no user namespace": _syscall(272, 0x10000000),
    "no other namespace": _syscall(308, 0, 0),
    "no keyctl": _syscall(250, 0, 0, 0),
    "no bpf": _syscall(321, 0, 0, 0),
    "no ptrace": _syscall(101, 0, 0, 0, 0),
    "no reading of others' memory": _syscall(310, 1, 0, 0, 0, 0, 0),
    "no mount": _syscall(165, 0, 0, 0, 0, 0),
    "no performance events": _syscall(298, 0, 0, -1, -1, 0),
    "no root again": _refuses("os.setuid(0)"),
    "no signal to process 1": _refuses("os.kill(1, 9)"),
    "no look into process 1": _refuses("open('/proc/1/mem', 'rb')"),
    "no way into the stream to the host": _refuses("os.open('/proc/1/fd/1', os.O_WRONLY)"),
    "no file outside of its places": Case(
        """
import os
for folder in ('/', '/etc', '/usr', '/var', '/program', '/dev', '/proc', '/sys', '/box', '/home', '/root', '/run', '/opt'):
    try: open(f'{folder}/x', 'w'); print('wrote to', folder)
    except OSError: pass
print('none')
""", Seen(says="none\n")),
    "no way to change its program": _refuses("open(__file__, 'a')"),
    "no setting of the kernel": _refuses("open('/proc/sys/kernel/core_pattern', 'w')"),
    "no engine's socket and no path of the host": Case(
        "import os\nplaces = ('/var/run/docker.sock', '/run/docker.sock', '/run/containerd', '/host')\n"
        "print([p for p in places if os.path.exists(p)], [l.split()[1] for l in open('/proc/self/mounts') if l.split()[0].startswith('/')])",
        Seen(says="[] ["),
    ),
    "nothing of the daemon's environment": Case(
        "import os; print(sorted(set(os.environ) - {'PATH', 'HOME', 'LANG'}))", Seen(says="[]\n"),
    ),
    "no set-uid file": Case(
        "import os\nfound = []\nfor top in ('/usr', '/bin', '/sbin', '/lib', '/etc'):\n  for b, _, names in os.walk(top):\n"
        "    found += [n for n in names if os.lstat(f'{b}/{n}').st_mode & 0o6000 and not os.path.islink(f'{b}/{n}')]\nprint(found)",
        Seen(says="[]\n"),
    ),
}  # fmt: skip

SIGHTS = {
    "an ordinary script": Case(
        "import os, sys\nassert __name__ == '__main__' and sys.argv == ['main.py'] and sys.path[0] == os.getcwd() == os.environ['HOME']\n"
        "assert os.listdir() == [] and os.listdir('/tmp') == [] and open(__file__).read().startswith('import os')\nprint('ok')",
    ),
    "a pool of processes": Case(
        "import multiprocessing as m\nif __name__ == '__main__':\n  with m.Pool(2) as p: print('ok' if p.map(abs, [-1, -2]) == [1, 2] else '')",
    ),
    "a pool of spawned processes": Case(
        "import multiprocessing as m\ndef f(x): return x + 1\nif __name__ == '__main__':\n  m.set_start_method('spawn')\n"
        "  with m.Pool(2) as p: print('ok' if p.map(f, [1, 2]) == [2, 3] else '')",
    ),
    "shared memory and locks": Case(
        "from multiprocessing import shared_memory, Lock, Queue\ns = shared_memory.SharedMemory(create=True, size=10)\n"
        "s.buf[0] = 7; s.close(); s.unlink(); Lock(); Queue().put(1); print('ok')",
    ),
    "threads": Case(
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as e: list(e.map(abs, range(9)))\nprint('ok')",
    ),
    "temporary files and a database": Case(
        "import sqlite3, tempfile\nwith tempfile.NamedTemporaryFile(dir='/tmp') as f: f.write(b'x')\n"
        "sqlite3.connect('x.db').execute('create table t (a)'); print('ok')",
    ),
    "subprocesses and executable files": Case(
        "import os, subprocess, sys\nassert subprocess.check_output([sys.executable, '-c', 'print(1)']) == b'1\\n'\n"
        "open('x', 'w').write('#!/bin/sh\\necho ok\\n'); os.chmod('x', 0o755); subprocess.run(['./x'])",
    ),
}  # fmt: skip
