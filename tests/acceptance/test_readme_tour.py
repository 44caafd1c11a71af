"""The README's commands, word by word, against a real daemon (they are the documentation's own)."""

import asyncio
import fnmatch
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.config.places import ROOT
from tests.benchmarks.servers import daemon, free_port

pytestmark = [pytest.mark.engine, pytest.mark.slow]
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def tour(begin: str, end: str) -> list[tuple[str, str]]:
    """Each command between two headings with what it should print, `…` standing for anything."""
    section = (ROOT / "README.md").read_text().split(f"\n{begin}\n")[1].split(f"\n{end}\n")[0]
    steps: list[tuple[str, str]] = []
    for block in CONSOLE.findall(section):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], ""))
            else:
                command, told = steps[-1]
                steps[-1] = (command, told + line + "\n")
    return steps


def _without(path: str, program: str) -> str:
    """A search path on which a program is not found: the tour itself must put it there."""
    return ":".join(folder for folder in path.split(":") if not (Path(folder) / program).exists())


def agrees(printed: str, told: str) -> bool:
    pattern = "".join("*" if c == "…" else f"[{c}]" if c in "[*?" else c for c in told.strip())
    return fnmatch.fnmatchcase(printed.strip(), pattern)


@pytest.mark.parametrize(
    ("begin", "end", "least"),
    [
        ("## Five minutes", "## Commands", 8),
        ("## Running code", "### Languages and profiles", 7),
        ("## Commands: what a person approves first", "## What holds, and what does not", 10),
    ],
)
async def test_every_command_prints_what_the_readme_says(tmp_path: Path, begin: str, end: str, least: int) -> None:
    port = free_port()
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "activate").write_text(f'PATH="{bin_folder}:$PATH"\n')
    (bin_folder / "orchestrator").write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    (bin_folder / "orchestrator").chmod(0o755)
    environ = {
        "PATH": _without(os.environ["PATH"], "orchestrator"), "ORCHESTRATOR_STATE_DIR": str(tmp_path / "state"),
        "PYTHONPATH": str(ROOT), "HOME": os.environ.get("HOME", "/"),
    }  # fmt: skip
    script, steps = "", tour(begin, end)
    if begin != "## Five minutes":
        script = ". .venv/bin/activate\n"  # which the five minutes begin with
    assert len(steps) >= least
    mark = "=====step====="
    for command, _ in steps:
        script += f"{command.replace('127.0.0.1:8000', f'127.0.0.1:{port}')}\necho\necho '{mark}'\n"
    async with daemon(tmp_path / "state", plugins, port):
        process = await asyncio.create_subprocess_exec(
            shutil.which("bash") or "bash", "-c", script, cwd=tmp_path, env=environ,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 120)
    printed = out.decode().split(mark)
    for (command, told), found in zip(steps, printed, strict=False):
        assert agrees(found, told), f"$ {command}\nprinted {found!r}\nnot {told!r}\n{err.decode()[-2000:]}"
