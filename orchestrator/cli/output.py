"""How the command line speaks: tables for people, JSON for programs, faults on stderr."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_ERR = Console(stderr=True, highlight=False)


class CliFault(Exception):
    """A fault told to the person at the terminal, with the process's exit code."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def error(message: str) -> None:
    """One line on stderr."""
    _ERR.print(f"[red]error:[/red] {_escaped(message)}", soft_wrap=True)


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
    drawn = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        drawn.add_row(*(_escaped(_cell(row.get(c))) for c in columns))
    Console().print(drawn)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "".join(c if c.isprintable() else "�" for c in str(value))


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
