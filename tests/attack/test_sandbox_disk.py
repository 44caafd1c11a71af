"""Disk and files: one bounded place to write, everything else read-only (ABUSE "Disk and files")."""

import base64

import pytest

MIB = 2**20
FULL = {"limits": {"disk_bytes": 4 * MIB}, "hits": ("disk_bytes",)}
MANY = {"limits": {"inodes": 100}, "hits": ("inodes",)}

CASES = {
    "filling the quota": {
        "code": "open('big', 'wb').write(b'x' * (5 * 2**20))",
        "status": "error", "exit_code": 1, "says": "No space left on device", **FULL,
    },
    "filling it in /tmp": {
        "code": "open('/tmp/big', 'wb').write(b'x' * (5 * 2**20))",
        "status": "error", "exit_code": 1, "says": "No space left on device", **FULL,
    },
    "filling it in both together": {
        "code": """
for name in ('a', '/tmp/b'):
    try: open(name, 'wb', buffering=0).write(b'x' * (3 * 2**20))
    except OSError: pass
import os
print(os.stat('a').st_size + os.stat('/tmp/b').st_size)
""",
        "says": str(4 * MIB), **FULL,
    },
    "many files": {
        "code": "for i in range(10**6): open(f'f{i}', 'w').close()",
        "status": "error", "exit_code": 1, "says": "No space left on device", **MANY,
    },
    "many folders": {"code": "import os\nfor i in range(10**6): os.mkdir(f'd{i}')", "status": "error", "exit_code": 1, **MANY},
    "many links": {
        "code": "import os\nopen('f', 'w')\nfor i in range(10**6): os.link('f', f'l{i}')",
        "status": "error", "exit_code": 1, **MANY,
    },
    "many symbolic links": {
        "code": "import os\nfor i in range(10**6): os.symlink('/', f'l{i}')", "status": "error", "exit_code": 1, **MANY,
    },
    "a sparse giant": {
        "code": "import os\nwith open('big', 'wb') as f: f.truncate(2**40)\nprint(os.stat('big').st_blocks)", "says": "0",
    },
    "names that are hard to say": {
        "code": """
import os
for name in (b'n' * 255, b'new\\nline', b'\\xff\\xfe', '\\u202egnp.exe'.encode(), b'A', b'a'):
    open(name, 'w').close()
print(len(os.listdir(b'.')))
""",
        "says": "6",
    },
    "every folder that is not its own": {
        "code": """
import os
own = ('/box/work', '/box/tmp', '/dev/shm', '/dev/mqueue')
for folder, _, _ in os.walk('/'):
    if folder.startswith(('/proc', '/sys', *own)): continue
    try: os.close(os.open(folder + '/x', os.O_CREAT | os.O_WRONLY))
    except OSError: continue
    print('wrote', folder)
print('walked')
""",
        "says": "walked",
    },
    "set-id files": {
        "code": """
import os
for folder, _, names in os.walk('/usr'):
    for name in names:
        mode = os.lstat(f'{folder}/{name}').st_mode
        if mode & 0o6000: print('set-id', folder, name)
print('walked')
""",
        "says": "walked",
    },
    "its own program": {
        "code": """
import os
for work in (lambda: open(__file__, 'w'), lambda: os.unlink(__file__), lambda: os.chmod(__file__, 0o777),
             lambda: os.rename(__file__, '/box/work/x'), lambda: open('/program/x', 'w')):
    try: work()
    except OSError: continue
    print('changed')
print('kept', __file__)
""",
        "says": "kept /program/main.py",
    },
    "a device": {
        "code": "import os, stat\ntry: os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(8, 0))\nexcept PermissionError: print('refused')",
        "says": "refused",
    },
    "a pipe of its own": {"code": "import os\nos.mkfifo('p')\nprint(os.listdir())", "says": "['p']"},
    "the disks of the host": {
        "code": "import os, stat\nprint([n for n in os.listdir('/dev') if stat.S_ISBLK(os.stat('/dev/' + n).st_mode)])", "says": "[]",
    },
    "a thousand folders deep": {
        "code": "import os\nfor _ in range(900):\n  os.mkdir('d'); os.chdir('d')\nopen('f', 'w').write('x')\nprint('down')",
        "says": "down",
    },
}  # fmt: skip


@pytest.mark.engine
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_disk(attack, case):
    """R2-17: read-only root, one bounded tmpfs."""
    outcome = await attack(**case)
    assert not {"wrote", "changed", "set-id"} & set(outcome.stdout.split())


@pytest.mark.engine
async def test_files_arrive_as_they_were_sent(run):
    """CONTRACT 4: text and base64, in folders, owned by the job, in an otherwise empty directory."""
    files = {
        "a/b/c.txt": "text \u20ac\n",
        "raw": {"base64": base64.b64encode(bytes(range(256))).decode()},
        "json.py": "mine = True",
        "n" * 255: "",
    }
    code = """
import json, os
assert json.mine
assert open('a/b/c.txt', encoding='utf-8').read() == 'text \u20ac\\n'
assert open('raw', 'rb').read() == bytes(range(256))
os.rename('a/b/c.txt', 'moved'); os.rmdir('a/b'); open('raw', 'ab').write(b'x')
print(sorted(set(os.listdir()) - {'__pycache__'})[:3])
"""
    outcome = await run(code, files=files)
    assert (outcome.status, outcome.stdout) == ("ok", "['a', 'json.py', 'moved']\n"), outcome.stderr


@pytest.mark.engine
async def test_what_is_admitted_fits_to_the_last_byte_and_inode(run):
    """Admission counts as the kernel does: files that fill the disk exactly are written, not refused half-way."""
    files = {"d/a": "x" * (4 * MIB - 4096), "b": "y" * 4096}
    outcome = await run(
        "print(open('b').read() == 'y' * 4096)", files=files, limits={"disk_bytes": 4 * MIB, "inodes": 16}
    )
    assert (outcome.status, outcome.stdout) == ("ok", "True\n"), outcome.reason
