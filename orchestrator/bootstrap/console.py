"""What a person reads: one line a step, progress on the long ones, and problems with the command that mends them."""

import sys
import time
from typing import TextIO

WRONG_USE = 2
NOT_THERE = 3
_NAMES = 12  # the width of the column of steps' names


class Problem(Exception):
    """Something that a person has to mend before `make` can go on.

    `mend` is one command line, printed on a line of its own; `code` is the exit code (CONTRACT 8: 1 failed, 2 wrong
    use, 3 engine or package not there).
    """

    def __init__(self, what: str, *, mend: str | None = None, code: int = NOT_THERE) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend
        self.code = code


class Console:
    """Writes steps to `out`; on a terminal the progress of a long step rewrites one line."""

    def __init__(self, out: TextIO | None = None, *, every_s: float = 5.0) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._every_s = 0.1 if self._live else every_s
        self._started = self._told = time.monotonic()
        self._open = False

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked: both ends are a terminal."""
        return self._live and sys.stdin.isatty()

    def step(self, name: str, text: str) -> None:
        """One finished statement: `engine      answers at unix:///run/docker.sock`."""
        self._end_line()
        self._started = self._told = time.monotonic()
        print(f"{name:<{_NAMES}}  {text}", file=self._out, flush=True)

    def progress(self, detail: str) -> None:
        """Where a long step is, told now and then: on a terminal in place, in a pipe as a line every few seconds."""
        now = time.monotonic()
        if now - self._told < self._every_s:
            return
        self._told = now
        line = f"{'':<{_NAMES}}  {now - self._started:4.0f} s  {_printable(detail)[:90]}"
        print(f"\r\x1b[K{line}" if self._live else line, end="" if self._live else "\n", file=self._out, flush=True)
        self._open = self._live

    def problem(self, problem: Problem) -> None:
        """Say what is wrong, and alone on its line the command that mends it."""
        self._end_line()
        print(f"\n{problem.what}", file=self._out)
        if problem.mend:
            print(f"This mends it:\n\n    {problem.mend}\n", file=self._out)
        self._out.flush()

    def agrees(self, question: str) -> bool:
        """Ask a person, who may just press Enter for yes; without a terminal nobody is asked, and the answer is yes."""
        if not self.interactive:
            return True
        self._end_line()
        print(f"{question} [Y/n] ", end="", file=self._out, flush=True)
        return sys.stdin.readline().lower() in {"\n", "y\n", "yes\n"}  # the end of input is no yes

    def _end_line(self) -> None:
        if self._open:
            print("\r\x1b[K", end="", file=self._out)
            self._open = False


def _printable(text: str) -> str:
    """Output of other programs without control characters, so that it cannot move the cursor."""
    return "".join(c if c.isprintable() else " " for c in text).strip()
