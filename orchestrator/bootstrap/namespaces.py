"""The few system calls behind a root of its own. Python 3.11 has none of them, and `libc` is always there."""

import ctypes
import os
import platform
from pathlib import Path

MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x2, 0x4, 0x8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MNT_DETACH = 0x2
_CLONE = {"mount": 0x00020000, "uts": 0x04000000, "ipc": 0x08000000, "pid": 0x20000000}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


def leave(*kinds: str) -> None:
    """Enter fresh namespaces; a fresh `pid` one is for the next child, which is its process 1."""
    _check(_libc.unshare(sum(_CLONE[kind] for kind in kinds)), f"unshare {' '.join(kinds)}")


def mount(source: str | Path, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); `source` is a name for file systems without a device."""
    words = (os.fsencode(source), os.fsencode(target), kind.encode() or None, flags, options.encode() or None)
    _check(_libc.mount(*words), f"mount {kind or source} at {target}")


def make_private() -> None:
    """From here on no mount of ours is seen outside, and none from outside here."""
    mount("none", Path("/"), flags=MS_REC | MS_PRIVATE)


def pivot_root(root: Path) -> None:
    """Make `root`, a mount point, the root of this namespace, and let go of the old one."""
    os.chdir(root)
    _check(_libc.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount the old root")
    os.chdir("/")


def end_with_parent(number: int) -> None:
    """Have the kernel send us a signal when our parent ends, however it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
