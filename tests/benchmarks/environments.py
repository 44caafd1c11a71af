"""Peers in environments of their own, for comparison alone: nothing of them is ever imported here or shipped."""

import asyncio
import contextlib
import io
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from orchestrator.config.places import ROOT
from orchestrator.sandbox import engines
from tests.benchmarks import peers

FOLDER = ROOT / ".make" / "peers"
"""Kept between runs, out of git; `make uninstall` removes it."""
WANTED = {
    "llm-sandbox": ["llm-sandbox[docker]"],
    "epicbox": ["epicbox", "urllib3<2", "requests<2.32", "docker<7", "setuptools"],  # it is from 2019
}
_INSTALL_S, _START_S, _RUN_S = 300, 60, 60
Measure = Callable[[], Awaitable[float]]


async def opened(stack: AsyncExitStack, image: str, code: str) -> tuple[dict[str, Measure], list[str]]:
    """Each peer that can be had, as a function that runs the program once and answers milliseconds; why others cannot.

    They get an image of the sandbox, since none is fetched from a registry; it lacks only a program named `python`.
    """
    found: dict[str, Measure] = {}
    missing: list[str] = []
    name = stack.enter_context(_with_python(image))
    for peer, packages in WANTED.items():
        try:
            python = await _environment(peer, packages)
            found[peer] = await stack.enter_async_context(_started(python, peer, name, code))
        except (OSError, TimeoutError, RuntimeError) as fault:
            missing.append(f"{peer}: not measured, {str(fault) or 'it took too long'}")
    return found, missing


async def _environment(peer: str, packages: list[str]) -> Path:
    """The Python of a peer's environment, made unless it is there."""
    folder = FOLDER / peer
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        await _run(sys.executable, "-m", "venv", "--clear", str(folder))
        await _run(str(python), "-m", "pip", "install", "--quiet", *packages)
        done.touch()
    return python


async def _run(*argv: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, err = await asyncio.wait_for(process.communicate(), _INSTALL_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"pip: {err.decode().strip().splitlines()[-1:]}")


@contextlib.asynccontextmanager
async def _started(python: Path, peer: str, image: str, code: str) -> AsyncIterator[Measure]:
    process = await asyncio.create_subprocess_exec(
        str(python), peers.__file__, peer, image, code,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def measure() -> float:
        stdin.write(b"\n")
        return float(await asyncio.wait_for(stdout.readline(), _RUN_S))

    try:
        if await asyncio.wait_for(stdout.readline(), _START_S) != b"ready\n":
            raise RuntimeError("it did not start")
        yield measure
    finally:
        stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _START_S)
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.contextmanager
def _with_python(image: str) -> Iterator[str]:
    """An image like that one in which `python` is `python3`, for as long as the block lasts."""
    client = engines.connect(engines.find(None), _START_S)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        link = tarfile.TarInfo("usr/bin/python")
        link.type, link.linkname = tarfile.SYMTYPE, "python3"
        tar.addfile(link)
    made = client.create_container(image, ["true"])["Id"]
    try:
        client.put_archive(made, "/", archive.getvalue())
        name = client.commit(made, "orchestrator-bench/python")["Id"]
        try:
            yield name
        finally:
            client.remove_image(name, force=True)
    finally:
        client.remove_container(made, force=True)
        client.close()
