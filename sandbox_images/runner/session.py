"""A Python that stays: it runs one piece of code after another in one `__main__`, and tells the last value of each.

This is the job itself, without rights; what it tells over its descriptor is its own word about itself and no more.
"""

from __future__ import annotations

import ast
import linecache
import os
import sys
import traceback

import embryo
import script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MAX_VALUE = 16 * 1024
"""Characters of a value that are told."""


def run(brief: embryo.Brief, path: str, work: str, forget: set[str]) -> NoReturn:
    """Run the pieces as they come, until the host hangs up or one of them ends the process."""
    sys.orig_argv = ["python3", "main.py"]
    sys.path[0] = work
    namespace = script.main_module(path)
    for name in forget:
        sys.modules.pop(name, None)
    sys.modules |= {"linecache": linecache, "traceback": traceback}  # which a program's own tracebacks use, too
    number = 0
    while True:
        number += 1
        _prepare(brief)
        code, value = _run_piece(path, namespace, number)
        _save_figures(number)
        script.flush()
        embryo.say_done(code, None if value is None else value[:MAX_VALUE].encode(errors="replace"))
        brief = embryo.take_brief()


def _prepare(brief: embryo.Brief) -> None:
    """Arguments, environment and standard input of the next piece."""
    sys.argv = ["main.py", *brief.args]
    os.environb.update(brief.env)
    os.lseek(0, 0, os.SEEK_SET)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays open for the piece


def _run_piece(path: str, namespace: dict[str, object], number: int) -> tuple[int, str | None]:
    """The exit code of a piece, and its last expression's value as text."""
    name = f"<session {number}>"
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            source = file.read()
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        value = _evaluate(source, name, namespace)
        return 0, None if value is None else repr(value)
    except SystemExit as fault:
        return script.exit_code(fault), None
    except BaseException as fault:  # noqa: BLE001 - the end of a piece that raised; the session goes on
        return _tell(fault), None


def _evaluate(source: str, name: str, namespace: dict[str, object]) -> object:
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec", dont_inherit=True), namespace)  # noqa: S102 - what this container is for
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), namespace)  # noqa: S307


def _save_figures(number: int) -> None:
    """Save the figures that a piece left open, under names that the host asks for."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    try:
        for figure in pyplot.get_fignums():
            pyplot.figure(figure).savefig(f"figure-{number}-{figure}.png")
        pyplot.close("all")
    except BaseException as fault:  # noqa: BLE001 - a figure that cannot be drawn is told, and costs nothing else
        _tell(fault)


def _tell(fault: BaseException) -> int:
    """Print what was raised, with the lines of the piece; its exit code."""
    try:
        traceback.print_exception(fault.with_traceback(script.own_frames(fault)))
    except BaseException:  # noqa: BLE001 - its words are the program's, too
        sys.stderr.write(f"{type(fault).__name__}\n")
    return 1
