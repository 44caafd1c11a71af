"""Time: nothing runs past its deadline, and the answer says which one it was (ABUSE "Time", CONTRACT 4)."""

import pytest

BUSY = "while True: pass"
LATE = {"status": "timeout", "hits": ("wall_ms",), "limits": {"wall_ms": 300}, "most_ms": 550}
SPENT = {"status": "timeout", "hits": ("cpu_ms",), "limits": {"cpu_ms": 150}}

CASES = {
    "busy loop": {"code": BUSY, **LATE},
    "sleep past the limit": {"code": "import time; time.sleep(60)", **LATE},
    "cpu apart from wall": {"code": BUSY, **SPENT},
    "cpu of children together": {"code": "import os\nos.fork()\nos.fork()\nwhile True: pass", **SPENT},
    "cpu of many short children": {
        "code": """
import os
while True:
    if os.fork() == 0:
        sum(range(200_000)); os._exit(0)
    os.wait()
""",
        **SPENT,
    },
    "sleeping costs no cpu": {
        "code": "import time; time.sleep(0.4); print('up')",
        "limits": {"cpu_ms": 300},
        "says": "up",
    },
    "all signals ignored": {
        "code": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
        **LATE,
    },
    "all signals handled": {
        "code": """
import signal
for number in (1, 2, 3, 14, 15, 24): signal.signal(number, lambda *_: None)
while True: signal.pause()
""",
        **LATE,
    },
    "work in a thread": {
        "code": """
import threading
def work():
    while True: pass
threading.Thread(target=work).start()
""",
        **LATE,
    },
    "an endless atexit": {"code": "import atexit, time\natexit.register(time.sleep, 60)", **LATE},
    "a stopped leader": {"code": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", **LATE},
    "a stopped child": {
        "code": """
import os, signal
child = os.fork()
if child == 0: signal.pause()
os.kill(child, signal.SIGSTOP)
print('left')
""",
        "says": "left",
        "most_ms": 1_000,
    },
    "a daemon by setsid and two forks, its descriptors closed": {
        "code": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64); time.sleep(60)
    os._exit(0)
os.wait(); print('left')
""",
        "says": "left",
        "most_ms": 1_000,
    },
    "a grandchild that keeps the pipe": {
        "code": """
import os, time
if os.fork() == 0: time.sleep(60)
print('left', flush=True); os._exit(0)
""",
        "says": "left",
        "most_ms": 1_000,
    },
    "a child that goes on writing": {
        "code": """
import os
if os.fork() == 0:
    while True: os.write(1, b'x')
os._exit(0)
""",
        "most_ms": 1_000,
    },
    "setting the clock": {
        "code": """
import time
try: time.clock_settime(time.CLOCK_REALTIME, 0)
except PermissionError: print('refused')
""",
        "says": "refused",
    },
    "a busy interval timer": {
        "code": """
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
while True: pass
""",
        **LATE,
    },
    "an alarm of its own": {
        "code": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.05)\nsignal.pause()",
        "status": "signal",
        "signal": "SIGALRM",
    },
}


@pytest.mark.engine
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_time(attack, case):
    """R2-17: killed by the deadline, within a quarter of a second of it."""
    await attack(**case)
