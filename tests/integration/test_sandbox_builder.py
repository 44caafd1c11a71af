"""Images that are built when they are first asked for, by real builds on a real engine (CONTRACT 0, 4)."""

import asyncio
import os
import shutil

import pytest
from structlog.testing import capture_logs

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.clock import SystemClock
from orchestrator.kernel.tasks import Supervisor
from orchestrator.sandbox import backends, images
from orchestrator.sandbox.builder import Builder
from orchestrator.sandbox.settings import SandboxSettings
from tests.attack.rig import COLD, IMAGES, opened

pytestmark = pytest.mark.engine
MANIFEST = """
language = "shell"
program = "main.sh"
command = ["/bin/sh", "/program/main.sh"]
packages = ["dash", "python3", "libc-bin"{more}]
[limits.maximum]
wall_ms = 20_000
"""


@pytest.fixture
def folder(tmp_path):
    """A folder of images with `default`, the runner, and one profile that no engine has."""
    root = tmp_path / "images"
    for name in ("default", "runner"):
        shutil.copytree(IMAGES / name, root / name)
    (root / "tiny").mkdir()
    write(root)
    images.build(COLD, root, "default", lambda _: None)
    yield root
    with backends.engine(COLD).shelf(COLD) as shelf:
        assert all(shelf.remove(image) for image in shelf.found() if image.profile == "tiny")


def write(root, *more: str) -> None:
    (root / "tiny" / "manifest.toml").write_text(MANIFEST.format(more="".join(f', "{name}"' for name in more)))


def retry_after(fault: Unavailable) -> int:
    assert fault.code == "sandbox_unavailable"
    return int(fault.headers["Retry-After"])


async def refused(box) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await box.run("echo 42", profile="tiny")
    return caught.value


async def built(box) -> None:
    """Until the build that is under way has ended."""
    await asyncio.wait({box.sandbox._monitor._builder._task}, timeout=120)


async def test_asking_for_a_profile_builds_its_image_once_and_then_it_serves(folder, tmp_path):
    """The issue's words: built on demand. Meanwhile 503 with Retry-After, and other profiles serve."""
    with capture_logs() as logs:
        async with opened(tmp_path, folder=folder) as box:
            told = [await refused(box) for _ in range(3)]
            assert {fault.detail for fault in told} == {"the image of the profile tiny is being built"}
            assert {retry_after(fault) for fault in told} == {10}
            assert (await box.run("print(1)")).stdout == "1\n"
            await built(box)
            async with asyncio.timeout(30):
                while not next(view for view in box.sandbox.profiles() if view.name == "tiny").available:
                    await asyncio.sleep(0.05)  # the engine is looked at in between, and tells nobody when it was
            outcome = await box.run("echo 42", profile="tiny")
            assert (outcome.status, outcome.stdout) == ("ok", "42\n"), outcome.reason
    steps = [entry for entry in logs if entry["event"].startswith("sandbox.build")]
    assert [entry["event"] for entry in steps if entry["event"] != "sandbox.build_step"] == [
        "sandbox.build_began",
        "sandbox.build_done",
    ]
    assert any("fetching" in entry.get("step", "") for entry in steps)


async def test_an_image_that_a_person_built_is_found_without_a_restart(folder, tmp_path):
    settings = COLD.model_copy(update={"build_images": False})
    async with opened(tmp_path, settings, folder=folder) as box:
        detail = (await refused(box)).detail
        assert detail == (
            "the engine has no image of the profile tiny, and the setting sandbox.build_images forbids building it; "
            "mend it with: orchestrator images build tiny"
        )
        await asyncio.to_thread(images.build, COLD, folder, "tiny", lambda _: None)
        async with asyncio.timeout(30):
            while True:
                try:
                    outcome = await box.run("echo 42", profile="tiny")
                    break
                except Unavailable:
                    await asyncio.sleep(0.05)
        assert outcome.stdout == "42\n"


async def test_a_build_that_fails_says_why_and_is_not_begun_again_at_once(folder, tmp_path):
    write(folder, "no-such-package")
    with capture_logs() as logs:
        async with opened(tmp_path, folder=folder) as box:
            await refused(box)
            await built(box)
            told = [await refused(box) for _ in range(3)]
    for fault in told:
        assert fault.detail.startswith("the image of the profile tiny could not be built: mmdebstrap failed: ")
        assert "no-such-package" in fault.detail
        assert fault.detail.endswith("; mend it with: orchestrator images build tiny")
        assert 200 < retry_after(fault) <= 300
    assert [entry["event"] for entry in logs].count("sandbox.build_began") == 1


async def test_a_daemon_that_ends_takes_its_build_along(folder, tmp_path):
    """Nothing runs on, and the folder of the build is gone."""
    begun = asyncio.Event()
    with capture_logs():
        async with opened(tmp_path, folder=folder) as box:
            builder = box.sandbox._monitor._builder
            start = builder._start

            async def started(profile):
                process = await start(profile)
                builds.append(process)
                begun.set()
                return process

            builds: list[asyncio.subprocess.Process] = []
            builder._start = started
            await refused(box)
            await asyncio.wait_for(begun.wait(), 30)
    assert builds[0].returncode is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(builds[0].pid, 0)


async def test_without_its_tool_nothing_is_tried(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    supervisor = Supervisor()
    builder = Builder(SandboxSettings(), IMAGES, SystemClock(), supervisor, lambda: None)
    assert ", and mmdebstrap is not installed; mend it with" in builder.want("shell").detail
    await builder.close()
    await supervisor.close()
