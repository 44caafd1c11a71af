"""The images step: have the sandbox images built, and find out cheaply that they are."""

import hashlib
from pathlib import Path

from orchestrator.bootstrap import commands
from orchestrator.bootstrap.client import EngineClient
from orchestrator.bootstrap.console import Console
from orchestrator.bootstrap.contexts import Endpoint
from orchestrator.bootstrap.ledger import Ledger
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.settings import Settings, clean_environment

_LABEL = "orchestrator."  # each image of ours has labels that start so


class Images:
    """The stamp is the ledger's entry: folder digest, engine and image ids, all of them still there."""

    def __init__(self, settings: Settings, machine: Machine, console: Console) -> None:
        self._settings = settings
        self._machine = machine
        self._console = console
        self._ledger = Ledger(settings.kept)

    def needs(self) -> dict[str, str]:
        """The package that makes a root file system from the distribution's packages."""
        if self._settings.from_registry or self._machine.which("mmdebstrap"):
            return {}
        return {"mmdebstrap": "builds the sandbox images"}

    def build(self, endpoint: Endpoint) -> None:
        """Have them built where the engine does not hold all of them, made from the folder as it is."""
        client = EngineClient(endpoint, timeout_s=30)
        digest, before = folder_digest(self._settings.root / "sandbox_images"), _ours(client)
        stamp = self._ledger.read().images
        same = (stamp.get("digest"), stamp.get("host")) == (digest, endpoint.host)
        if same and stamp["ids"] and set(stamp["ids"]) <= before:
            return
        self._console.step("images", "building those that are missing")
        ours = endpoint.environment() | {"PYTHONDONTWRITEBYTECODE": "1"}  # no file of root's in a person's checkout
        env = clean_environment(self._machine.environ) | ours
        commands.run(self._command([*ours, "BASE", *self._machine.proxies]), self._console, env=env)
        after = _ours(client)
        added = self._ledger.read()
        fresh = (after - before) | (set(added.images.get("added", [])) & after)
        added.images = {"digest": digest, "host": endpoint.host, "ids": sorted(after), "added": sorted(fresh)}
        self._ledger.write(added)

    def _command(self, keep: list[str]) -> list[str]:
        """The builder, as root where it lays out a root file system."""
        argv = [str(self._settings.program), "images", "build", "--if-missing"]
        if self._settings.from_registry:
            return argv
        return self._machine.as_root(argv, interactive=self._console.interactive, keep=keep)


def folder_digest(folder: Path) -> str:
    """One digest of all files of a folder, names and contents."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()


def _ours(client: EngineClient) -> set[str]:
    """Ids of the images that carry a label of ours."""
    images = client.get("/images/json")
    return {image["Id"] for image in images if any(key.startswith(_LABEL) for key in image.get("Labels") or {})}
