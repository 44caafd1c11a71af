"""Memory: the cgroup's limit holds, and `oom` is said where the kernel says so and nowhere else (ABUSE "Memory")."""

import pytest

MIB = 2**20
SMALL = {"memory_bytes": 48 * MIB}
OOM = {"status": "oom", "hits": ("memory_bytes",), "limits": SMALL}
IN_CHILD = """
import os, signal
if os.fork() == 0:
    kept = b'x' * 2**27
    os._exit(0)
_, status = os.wait()
"""

CASES = {
    "one object far too large": {"code": "kept = b'x' * 2**27", **OOM},
    "page by page after a warm-up": {
        "code": "kept = [bytearray(4096) for _ in range(2_000)]\nwhile True: kept.append(b'x' * 4096)",
        **OOM,
    },
    "a growing list": {"code": "kept = []\nwhile True: kept.append(object())", **OOM},
    "a big integer": {"code": "n = 7\nwhile True: n <<= 2**26", **OOM},
    "shared anonymous memory": {
        "code": "import mmap\nm = mmap.mmap(-1, 2**27)\nfor i in range(0, 2**27, 4096): m[i] = 1",
        **OOM,
    },
    "a map that is populated": {
        "code": "import mmap\nm = mmap.mmap(-1, 2**27, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)\n"
        "for i in range(0, 2**27, 4096): m[i] = 1",
        **OOM,
    },
    "a memfd": {
        "code": "import os\nfd = os.memfd_create('x')\nwhile True: os.write(fd, b'x' * 65536)",
        **OOM,
    },
    "a child's death is the child's": {
        "code": IN_CHILD + "print('child', os.WTERMSIG(status) == signal.SIGKILL)",
        "limits": SMALL,
        "hits": ("memory_bytes",),
        "says": "child True",
    },
    "a child's death, and a leader that fails": {
        "code": IN_CHILD + "raise SystemExit(3)",
        "limits": SMALL,
        "status": "error",
        "exit_code": 3,
        "hits": ("memory_bytes",),
    },
    "two children that fit alone and not together": {
        "code": """
import os, time
for _ in range(2):
    if os.fork() == 0:
        kept = b'x' * (24 * 2**20); time.sleep(5); os._exit(0)
print(sorted(os.WIFSIGNALED(os.waitpid(-1, 0)[1]) for _ in range(1)))
""",
        "limits": SMALL,
        "hits": ("memory_bytes",),
        "says": "[True]",
    },
    "MemoryError caught": {
        "code": "try: bytearray(2**46)\nexcept MemoryError: print('caught')",
        "says": "caught",
    },
    "files fill the memory": {
        "code": "f = open('big', 'wb', buffering=0)\nwhile True: f.write(b'x' * 65536)",
        "limits": {"memory_bytes": 48 * MIB, "disk_bytes": 48 * MIB},
        "status": "oom",
        "hits": ("memory_bytes",),
    },
    "/dev/shm is bounded": {
        "code": """
done = 0
with open('/dev/shm/big', 'wb', buffering=0) as f:
    try:
        while True: done += f.write(b'x' * 65536)
    except OSError: print(done)
""",
        "says": str(16 * MIB),
    },
    "deep recursion": {
        "code": "def f(): f()\nf()",
        "status": "error",
        "exit_code": 1,
        "says": "RecursionError",
    },
    "137 without the cause": {"code": "import os; os._exit(137)", "status": "error", "exit_code": 137},
    "SIGKILL by its own hand": {
        "code": "import os; os.kill(os.getpid(), 9)",
        "status": "signal",
        "signal": "SIGKILL",
    },
    "a segmentation fault": {
        "code": "import ctypes; ctypes.string_at(0)",
        "status": "signal",
        "signal": "SIGSEGV",
    },
    "an abort": {"code": "import os; os.abort()", "status": "signal", "signal": "SIGABRT"},
}


@pytest.mark.engine
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_memory(attack, case):
    """R2-17: no swap, no page over, and 137 alone proves nothing."""
    await attack(**case)


@pytest.mark.engine
async def test_a_worker_that_dies_of_memory_is_no_fault_of_the_daemon(attack):
    """A job that leaves nothing even to the runner is told as `oom` by the engine's word."""
    code = "open('a', 'wb').write(b'x' * (15 * 2**20))\nkept = []\nwhile True: kept.append(b'x' * 4096)"
    await attack(code, status="oom", hits=("memory_bytes",), limits={"memory_bytes": 32 * MIB, "disk_bytes": 32 * MIB})
