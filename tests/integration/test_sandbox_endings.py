"""A program ends as under an interpreter of its own, though the runner ends it in its own, shorter way (CONTRACT 4)."""

import json
import re

import pytest

from tests.attack.rig import COLD, opened

pytestmark = pytest.mark.engine

ENDINGS = {
    "nothing to say": "",
    "output that was never flushed": "import sys\nsys.stdout.write('out'); sys.stderr.write('err')",
    "exit handlers in reverse order": "import atexit\natexit.register(print, 1); atexit.register(print, 2)",
    "an exit handler that raises": "import atexit\ndef f(): raise ValueError('late')\natexit.register(f); atexit.register(print, 'x')",
    "an exit handler that exits": "import atexit, sys\natexit.register(sys.exit, 5)\nprint('x')",
    "a thread that is waited for": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()",
    "a daemon thread that is not": "import threading, time\nthreading.Thread(target=lambda: time.sleep(9), daemon=True).start()\nprint('x')",
    "a thread that exits": "import threading, sys\nthreading.Thread(target=sys.exit, args=(3,)).start()",
    "a global that says farewell": "class A:\n  def __del__(self): print('gone', A is None or A.__name__)\na = A()",
    "private globals first": "class A:\n  def __init__(s, n): s.n = n\n  def __del__(self): print(self.n)\nb = A('b'); _a = A('_a'); c = A('c')",
    "a cycle that says farewell": "class A:\n  def __del__(self): print('gone')\na = A(); a.a = a",
    "a farewell that raises": "class A:\n  def __del__(self): raise ValueError('no')\na = A()",
    "a module of its own that says farewell": "import types, sys\nm = types.ModuleType('m'); sys.modules['m'] = m\nclass A:\n  def __del__(self): print('gone')\nm.a = A(); del m",
    "an exit with a number": "raise SystemExit(7)",
    "an exit with a large number": "raise SystemExit(4242)",
    "an exit with a negative number": "raise SystemExit(-1)",
    "an exit with None": "raise SystemExit",
    "an exit with words": "import sys\nsys.exit('words')",
    "an exit with True": "raise SystemExit(True)",
    "an exit with an object": "raise SystemExit([1, 2])",
    "an exit with words that cannot be said": "class A:\n  def __str__(self): raise ValueError('no')\nraise SystemExit(A())",
    "an error with its cause": "try: 1 / 0\nexcept ZeroDivisionError as e: raise ValueError('b') from e",
    "a syntax error": "print('x'\n",
    "an error of its own kind without words": "class Odd(BaseException): pass\nraise Odd",
    "an error that cannot be said": "class A(Exception):\n  def __str__(self): raise ValueError('no')\nraise A",
    "an excepthook of its own": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__)\nraise ValueError",
    "an excepthook that raises": "import sys\ndef hook(*a): raise KeyError('hook')\nsys.excepthook = hook\nraise ValueError('first')",
    "a closed stdout": "import sys\nsys.stdout.close()",
    "a stdout that is None": "import sys\nsys.stdout = None\nprint('x')",
    "a stdout that cannot be flushed": "import os, sys\nos.close(1)\nsys.stdout.write('x')",
    "a stdout that raises": "import sys\nclass A:\n  def write(self, s): pass\n  def flush(self): raise ValueError('no')\nsys.stdout = A()",
    "a child that falls off the end": "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('child' if pid == 0 else 'parent')",
    "a buffer of libc's own": "import ctypes\nctypes.CDLL(None).printf(b'libc\\n')\nprint('x')",
    "an interrupt of its own": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)",
    "a loop of events": "import asyncio\nasync def f(): print('x')\nasyncio.run(f())",
    "a generator left open": "def g():\n  try: yield\n  finally: print('closed')\nx = g(); next(x)",
    "weak finalizers": "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalized')",
    "an import at the end": "import atexit\ndef f():\n  import json; print(json.dumps(1))\natexit.register(f)",
}  # fmt: skip

BESIDE = """
import json, subprocess, sys
open('main.py', 'w').write(sys.stdin.read())
done = subprocess.run([sys.executable, 'main.py'], capture_output=True, stdin=subprocess.DEVNULL)
print(json.dumps([done.returncode, done.stdout.decode(), done.stderr.decode()]))
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


def told(code: int | None, signal: str | None, out: str, err: str) -> tuple[object, str, str]:
    err = re.sub(r"/(program|box/work)/(?=main\.py)", "", err)
    return (signal or code, out, re.sub("0x[0-9a-f]+", "0x", err))


async def test_every_ending_is_that_of_an_interpreter_of_its_own(state):
    """Each program twice: as a job, and under a second interpreter in the same container; the same must come."""
    async with opened(state, COLD.model_copy(update={"armed": 2})) as box:
        different = {}
        for name, code in ENDINGS.items():
            job = await box.run(code, isolation="cell")
            beside = await box.run(BESIDE, stdin=code, isolation="cell")
            status, out, err = json.loads(beside.stdout)
            ours = told(job.exit_code, job.signal, job.stdout, job.stderr)
            theirs = told(status, "SIGINT" if status == -2 else None, out, err)
            if ours != theirs:
                different[name] = (ours, theirs)
    assert not different, "\n".join(f"{name}:\n  {ours}\n  {theirs}" for name, (ours, theirs) in different.items())
