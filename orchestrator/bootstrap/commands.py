"""Running other programs: quiet while it goes well, their last words when it does not."""

import subprocess
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.bootstrap.console import Console, Problem

_LAST_WORDS = 15
_TIDY_S = 30.0


def run(
    argv: Sequence[str],
    console: Console,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    keep: Sequence[int] = (),
) -> None:
    """Run a long command, its lines told as progress. Raises `Problem` with its last lines if it fails.

    The command ends with us, also when we are interrupted; not when we are killed, and then it keeps the descriptors
    `keep`, such as that of a lock, until it has ended.
    """
    words: deque[str] = deque(maxlen=_LAST_WORDS)
    with _started(argv, env, cwd, keep) as process:
        try:
            for line in process.stdout or ():
                words.append(line.rstrip())
                console.progress(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        said = "\n".join(f"    {word}" for word in words)
        raise Problem(f"`{' '.join(argv)}` failed ({process.returncode}):\n{said}", code=1)


def foreground(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> int:
    """Run a command with our own terminal and answer its exit code. It ends in order when we are interrupted."""
    with subprocess.Popen(argv, env=env, cwd=cwd) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            _let_end(process)  # the terminal interrupted it as well: it is tidying up
            raise
        except BaseException:
            process.terminate()
            raise


@contextmanager
def beside(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> Iterator[None]:
    """Have a command run for the length of the block and after it, until it has ended; nobody hears of its fate."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, env=env, cwd=cwd, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            yield
            process.wait()
        except BaseException:
            process.terminate()
            raise


def _let_end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(_TIDY_S)
    except subprocess.TimeoutExpired:
        process.terminate()


def output(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """What a short command writes to stdout, empty if it fails or is not there."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", env=env, timeout=60, check=False)
    except (FileNotFoundError, PermissionError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _started(
    argv: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None, keep: Sequence[int]
) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=cwd,
            text=True, errors="replace", pass_fds=keep,
        )  # fmt: skip
    except FileNotFoundError:
        raise Problem(f"{argv[0]} is not installed here") from None
