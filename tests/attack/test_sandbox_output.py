"""Output: bounded, cut between characters, and never taken for the sandbox's own word (ABUSE "Output")."""

import base64

import pytest

MIB = 2**20
FORGED = """
import json, os, struct
evidence = json.dumps({"ended_by": None, "wait_status": 0, "survivors": False}).encode()
for kind in range(64):
    for nonce in (bytes(16), b'x' * 16):
        frame = struct.pack('<BI16s', kind, len(evidence), nonce) + evidence
        docker = struct.pack('>BxxxI', 1, len(frame)) + frame
        for fd in range(64):
            for data in (frame, docker):
                try: os.write(fd, data)
                except OSError: pass
os._exit(7)
"""

CASES = {
    "endless stdout": {
        "code": "while True: print('x' * 1000)", "status": "output_limit", "hits": ("stdout_bytes",),
    },
    "endless stderr": {
        "code": "import os\nwhile True: os.write(2, b'x' * 65536)", "status": "output_limit", "hits": ("stderr_bytes",),
    },
    "one line of a gigabyte": {
        "code": "import os\nwhile os.write(1, b'x' * 65536): pass", "status": "output_limit", "hits": ("stdout_bytes",),
    },
    "a child's flood": {
        "code": "import os\nif os.fork():\n  os.wait()\nwhile True: os.write(1, b'x' * 65536)",
        "status": "output_limit", "hits": ("stdout_bytes",),
    },
    "a little too much of both": {
        "code": "import sys\nprint('x' * 5000)\nprint('y' * 5000, file=sys.stderr)",
        "limits": {"stdout_bytes": 1000, "stderr_bytes": 1000}, "hits": ("stdout_bytes", "stderr_bytes"),
    },
    "a forged frame on every descriptor": {"code": FORGED, "status": "error", "exit_code": 7},
    "an early result, then a sudden end": {
        "code": "import os\nprint('{\"status\": \"ok\"}', flush=True)\nos._exit(9)", "status": "error", "exit_code": 9,
    },
    "only three descriptors": {
        "code": "import os\nprint(sorted(os.listdir('/proc/self/fd'))[:3], len(os.listdir('/proc/self/fd')))",
        "says": "['0', '1', '2'] 4",
    },
    "closed stdout": {"code": "import os\nos.close(1)\nos.close(2)\nos._exit(0)"},
    "124 without the cause": {"code": "raise SystemExit(124)", "status": "error", "exit_code": 124},
    "139 without the cause": {"code": "raise SystemExit(139)", "status": "error", "exit_code": 139},
    "an exit in words": {"code": "raise SystemExit('bye')", "status": "error", "exit_code": 1, "says": "bye"},
    "stdin is at its end": {"code": "import sys; print(repr(sys.stdin.read()))", "says": "''"},
    "/dev/stdout by name": {"code": "open('/dev/stdout', 'w').write('named')", "says": "named"},
}  # fmt: skip

SHOWN = {
    "control sequences are text": (b"\x1b[2J\x1b]0;x\x07\0\r\n", "utf-8"),
    "invalid UTF-8": (b"ok \xff\xfe", "base64"),
    "a lone surrogate": (b"\xed\xa0\x80", "base64"),
    "all bytes": (bytes(range(256)), "base64"),
}


@pytest.mark.engine
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_output(attack, case):
    """R2-17: output is bytes, capped, and proves nothing."""
    await attack(**case)


@pytest.mark.engine
@pytest.mark.parametrize(("data", "encoding"), SHOWN.values(), ids=SHOWN)
async def test_output_comes_as_it_was_written(run, data, encoding):
    """CONTRACT 4: output that is not UTF-8 is base64, for both streams."""
    outcome = await run(f"import os; os.write(1, {data!r}); os.write(2, b'e')")
    assert (outcome.status, outcome.encoding) == ("ok", encoding)
    if encoding == "utf-8":
        assert (outcome.stdout.encode(), outcome.stderr) == (data, "e")
    else:
        assert (base64.b64decode(outcome.stdout), base64.b64decode(outcome.stderr)) == (data, b"e")


@pytest.mark.engine
@pytest.mark.parametrize("size", [999, 1000, 1001, 1002])
async def test_a_cut_falls_between_characters(run, size):
    """CONTRACT 4: what is kept of three-byte characters is whole characters, and at most the limit."""
    outcome = await run("print('\u20ac' * 2000, end='')", limits={"stdout_bytes": size})
    assert (outcome.status, outcome.encoding, outcome.stdout_truncated) == ("ok", "utf-8", True)
    assert outcome.stdout == "\u20ac" * (size // 3)


@pytest.mark.engine
async def test_a_flood_is_kept_up_to_its_limit_exactly(run):
    """CONTRACT 4: what came before the end of an `output_limit` is in the answer, cut at the limit."""
    outcome = await run("while True: print('x' * 99)")
    assert outcome.status == "output_limit"
    assert (len(outcome.stdout), outcome.stdout_truncated, outcome.stderr_truncated) == (MIB, True, False)
