"""How the command line speaks: tables for people, JSON for programs, faults on stderr."""

import errno
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_ERR = Console(stderr=True, highlight=False)


class CliFault(Exception):
    """A fault told to the person at the terminal, with the process's exit code.

    `problem` is what a program is told with `--json`: members of a problem document, such as `code` and `errors`.
    """

    def __init__(self, message: str, code: int = 1, problem: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.problem = problem or {}


def json_wanted(argv: Sequence[str]) -> bool:
    """Whether a command line asks for JSON: known before it is parsed, since parsing it may be what fails."""
    ours = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in ours


def fault(found: CliFault, as_json: bool) -> None:
    """A fault, on stderr: stdout carries answers alone. With JSON `{"code", "detail", "errors"?, "nearest"?, …}`."""
    if as_json:
        told = {"code": "failed", "detail": str(found), **found.problem}
        print(json.dumps(told, ensure_ascii=False), file=sys.stderr)
    else:
        error(str(found))


def lost(found: OSError) -> int:
    """The exit code where what was to be printed could not be. Says so, unless the reader simply left."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes what is left once more
    if found.errno != errno.EPIPE:
        error(f"the answer cannot be written: {found.strerror}")
    return 1


def error(message: str) -> None:
    """One line on stderr."""
    _ERR.print(f"[red]error:[/red] {_escaped(message)}", soft_wrap=True)


def note(message: str) -> None:
    """A line for a person beside the answer, on stderr."""
    _ERR.print(_escaped(message), soft_wrap=True)


def show(value: Any, as_json: bool) -> None:
    """A JSON value: as it is for programs, indented for people."""
    print(json.dumps(value, ensure_ascii=False, indent=None if as_json else 2))


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Rows: aligned on a terminal, tab-separated in a pipe, a JSON list on request."""
    if as_json:
        print(json.dumps(list(rows), ensure_ascii=False))
        return
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(_cell(row.get(c)) for c in columns))
        return
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:  # an id is there to be copied: whole, and on one line
        drawn.add_column(column, no_wrap=column in _IDS, overflow="fold", min_width=_width(rows, column))
    for row in rows:
        drawn.add_row(*(_escaped(_cell(row.get(c))) for c in columns))
    Console().print(drawn)


_IDS = ("id", "subject", "seq", "name")


def _width(rows: Sequence[dict[str, Any]], column: str) -> int | None:
    return max((len(_cell(row.get(column))) for row in rows), default=0) if column in _IDS else None


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "".join(c if c.isprintable() else "�" for c in str(value))


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
