"""The programs of the campaigns: each with the verdict that is right for it.

Every one prints first under which id it runs, so that its survivors could be found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WALL_MS = 300
"""The deadline of those that would never end."""
_WHO = "import os; print(os.getuid(), flush=True)\n"


@dataclass(frozen=True, slots=True)
class Job:
    """One program, what it is given, and how it must end: its verdict, the limits named, the rest of its output."""

    name: str
    code: str
    status: str
    hits: tuple[str, ...] = ()
    says: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)

    def body(self, **more: Any) -> dict[str, Any]:
        """The request."""
        return {"code": _WHO + self.code, **self.request, **more}

    def wrong(self, answer: Mapping[str, Any]) -> str:
        """What is wrong with an execution of it, for a person; empty where nothing is."""
        seen = (answer["status"], set(self.hits) <= set(answer["limits_hit"]))
        if seen != (self.status, True):
            told = f"{answer['status']} {answer['limits_hit']} ({answer['reason']} {answer['stderr'][-200:]})"
            return f"{self.name}: {told}, not {self.status} {list(self.hits)}"
        said = answer["stdout"].partition("\n")[2]
        if self.says is not None and said != self.says:
            return f"{self.name}: said {said[:200]!r}, not {self.says!r}"
        return ""

    def uid(self, answer: Mapping[str, Any]) -> int | None:
        """The id under which it ran; None where it did not come to say so."""
        first = answer["stdout"].partition("\n")[0]
        return int(first) if first.isdigit() else None


def _late(name: str, code: str) -> Job:
    return Job(name, code, "timeout", ("wall_ms",), request={"limits": {"wall_ms": WALL_MS}})


LATE = [
    _late("busy loop", "while True: pass"),
    _late("sleep", "import time; time.sleep(60)"),
    _late(
        "all signals ignored",
        """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
    ),
    _late(
        "fork bomb",
        """
while True:
    try: os.fork()
    except OSError: pass
""",
    ),
    _late(
        "thread bomb",
        """
import threading
def spin():
    while True: pass
while True:
    try: threading.Thread(target=spin).start()
    except RuntimeError: pass
""",
    ),
    _late(
        "daemons in sessions of their own",
        """
import time
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            while True: pass
        os._exit(0)
while True: time.sleep(1)
""",
    ),
    _late("a stopped leader", "import signal; os.fork(); os.kill(os.getpid(), signal.SIGSTOP)"),
    _late(
        "children that come and go",
        """
while True:
    try:
        if os.fork() == 0: os._exit(0)
        os.wait()
    except OSError: pass
""",
    ),
    _late(
        "signals to everybody",
        "import signal\nwhile True:\n    try: os.kill(-1, signal.SIGCONT)\n    except OSError: pass",
    ),
    _late(
        "files without an end",
        """
n = 0
while True:
    n += 1
    try:
        with open(f'f{n % 200}', 'wb') as file: file.write(b'x' * 2**16)
    except OSError: pass
""",
    ),
    _late(
        "a slow flood",
        "import sys, time\nwhile True: sys.stdout.write('x' * 100); sys.stdout.flush(); time.sleep(0.001)",
    ),
]
"""Those whose deadline ends them."""

ENDED = [
    Job(
        "processor time of all children",
        "for _ in range(3): os.fork()\nwhile True: pass",
        "timeout",
        ("cpu_ms",),
        request={"limits": {"cpu_ms": 150}},
    ),
    Job("all the memory", "x = []\nwhile True: x.append(bytearray(2**20))", "oom", ("memory_bytes",)),
    Job("a flood", "while True: os.write(1, b'x' * 2**16)", "output_limit", ("stdout_bytes",)),
    Job(
        "a daemon left behind",
        """
if os.fork() == 0:
    os.setsid()
    while True: pass
print('left')
""",
        "ok",
        says="left\n",
    ),
    Job("a death by signal", "os.kill(os.getpid(), 11)", "signal", says=""),
]
"""Those that end, or are ended, before their deadline."""

HOSTILE = [*LATE, *ENDED]

FRIENDLY = [
    Job("a sum", "print(6 * 7)", "ok", says="42\n"),
    Job("a failure", "import sys; sys.exit(3)", "error", says=""),
    Job("an exception", "raise ValueError('no')", "error", says=""),
    Job("input", "print(input()[::-1])", "ok", says="olleh\n", request={"stdin": "hello"}),
    Job(
        "files and arguments",
        "import sys; print(open('a/b.txt').read() + sys.argv[1] + os.environ['NAME'])",
        "ok",
        says="123\n",
        request={"files": {"a/b.txt": "1"}, "args": ["2"], "env": {"NAME": "3"}},
    ),
    Job(
        "a database in a file",
        """
import sqlite3
with sqlite3.connect('x.db') as base:
    base.execute('create table t (n)')
    base.executemany('insert into t values (?)', [(n,) for n in range(100)])
print(base.execute('select sum(n) from t').fetchone()[0])
""",
        "ok",
        says="4950\n",
    ),
    Job(
        "processes",
        "import multiprocessing\nif __name__ == '__main__':\n    with multiprocessing.Pool(2) as pool: print(sum(pool.map(abs, range(-9, 0))))",
        "ok",
        says="45\n",
    ),
    Job(
        "less memory",
        "print(len(bytearray(2**20)))",
        "ok",
        says="1048576\n",
        request={"limits": {"memory_bytes": 64 * 2**20}},
    ),
]
"""Those that a person might send."""
