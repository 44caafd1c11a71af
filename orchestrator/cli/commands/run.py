"""Run a program in the sandbox."""

import base64
import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TextIO

import typer

from orchestrator.cli import artifacts, client, streams
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import CliFault, error, show
from orchestrator.cli.terminal import Screen

PATH = "/v1/sandbox/executions"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(
    file: Annotated[Path, typer.Argument(help="The program; - reads it from standard input.", allow_dash=True)],
    args: Annotated[list[str] | None, typer.Argument(help="Its arguments.")] = None,
    stdin: Annotated[Path | None, typer.Option(help="A file for its standard input; - passes on one's own.")] = None,
    isolation: Annotated[str | None, typer.Option(help="container (the default) or cell.")] = None,
    language: Annotated[str | None, typer.Option(help="Such as javascript; else Python.")] = None,
    profile: Annotated[str | None, typer.Option(help="As `orchestrator sandbox profiles` lists them.")] = None,
    subject: Annotated[str | None, typer.Option(help="Whose code it is, where one key serves several people.")] = None,
    limit: Annotated[list[str] | None, typer.Option(help="name=value; may be repeated.")] = None,
    wall_ms: Annotated[int | None, typer.Option(help="The same as --limit wall_ms=…")] = None,
    artifact: Annotated[list[str] | None, typer.Option(help="A glob of files to bring back; may be repeated.")] = None,
    out: Annotated[Path, typer.Option(help="The folder that they are written to.")] = Path(),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a program in the sandbox; its output is printed as it comes, and exit is 0 if its own was.

    Example: orchestrator run script.py -- one two

    Example: orchestrator run plot.py --profile science --artifact '*.png' --out figures --limit wall_ms=60000
    """
    if stdin is not None and str(stdin) == str(file) == "-":
        raise CliFault("standard input is the program or the program's input, not both", 2)
    body: dict[str, Any] = {"code": _text(file), "args": args or [], "limits": _limits(limit or [], wall_ms)}
    named = {"isolation": isolation, "language": language, "profile": profile, "subject": subject}
    body |= {name: value for name, value in named.items() if value is not None}
    body |= {"artifacts": artifact} if artifact else {}
    body |= {"stdin": _content(stdin)} if stdin is not None else {}
    if as_json:
        outcome = client.call("POST", PATH, body)
        show(outcome, True)
    else:
        outcome = _stream(body)
    faults = artifacts.write_all(out, outcome["artifacts"], overwrite=overwrite)
    faults += [f"{skipped['path']!r} was left out: {skipped['reason']}" for skipped in outcome["artifacts_skipped"]]
    for fault in faults:
        error(fault)
    if outcome["status"] != "ok":
        raise CliFault(f"{outcome['status']}: {outcome['reason']}")
    if faults:
        raise typer.Exit(1)


def _stream(body: dict[str, Any]) -> Any:
    """Print what the program writes while it runs; how it ended. Leaving, by Ctrl-C or a closed pipe, cancels it."""
    outlets = {"stdout": _Outlet(sys.stdout), "stderr": _Outlet(sys.stderr)}
    try:
        for event, data in streams.post(client.target(), f"{PATH}?stream=sse", body):
            if event in outlets:
                outlets[event].write(data)
            elif event == "result":
                return data
            elif event == "error":
                raise client.refused(data["status"], data)
    finally:
        for outlet in outlets.values():
            outlet.end()
    raise CliFault("the daemon ended before the program did; it may have run", 3)


class _Outlet:
    """Where one of the program's streams goes: bytes as they are into a pipe or file, harmless text to a terminal."""

    def __init__(self, target: TextIO) -> None:
        self._target = target
        self._bytes: BinaryIO = target.buffer
        self._screen = Screen() if target.isatty() else None

    def write(self, piece: dict[str, str]) -> None:
        """Write one piece of output."""
        data = base64.b64decode(piece["data"]) if piece["encoding"] == "base64" else piece["data"].encode()
        if self._screen is not None:
            data = self._screen.harmless(data.decode(errors="replace")).encode()
        self._bytes.write(data)
        self._bytes.flush()

    def end(self) -> None:
        """Write what was held back."""
        if self._screen is not None:
            self._target.write(self._screen.rest())
            self._target.flush()


def _limits(words: list[str], wall_ms: int | None) -> dict[str, int]:
    found = {} if wall_ms is None else {"wall_ms": wall_ms}
    for word in words:
        name, _, value = word.partition("=")
        if not (value.isascii() and value.replace("_", "").isdigit()):
            raise CliFault(f"--limit {word!r} is not name=value, such as wall_ms=60000", 2)
        found[name] = int(value)
    return found


def _content(path: Path) -> str | dict[str, str]:
    data = _read(path)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _text(path: Path) -> str:
    try:
        return _read(path).decode()
    except UnicodeDecodeError as fault:
        raise CliFault(f"{path} is not text: {fault}", 2) from None


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as fault:
        raise CliFault(f"{path} cannot be read: {fault.strerror}", 2) from None
