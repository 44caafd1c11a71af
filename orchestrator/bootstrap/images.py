"""The images step: have the images of some profiles built, and find out cheaply that they are.

The daemon builds others when they are first asked for.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from orchestrator.bootstrap import commands
from orchestrator.bootstrap.client import EngineClient
from orchestrator.bootstrap.console import Console
from orchestrator.bootstrap.contexts import Endpoint
from orchestrator.bootstrap.ledger import Ledger
from orchestrator.bootstrap.machine import Machine
from orchestrator.bootstrap.settings import Settings, clean_environment

_LABEL = "orchestrator.profile"  # each image of ours says so whose it is

UNPACKED = "/var/cache/orchestrator"
"""Where bubblewrap's images are, by default of the setting `sandbox.roots`."""


class Images:
    """The stamp is the ledger's entry: digest of what they are made from, engine and image ids, all still there."""

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

    def build(self, endpoint: Endpoint, profiles: Sequence[str]) -> None:
        """Have those of `profiles` built where the engine does not hold all of them, made from the folder as it is."""
        client = EngineClient(endpoint, timeout_s=30)
        digest, before = sources_digest(self._settings.root), set(_ours(client))
        stamp = self._ledger.read().images
        same = (stamp.get("digest"), stamp.get("host")) == (digest, endpoint.host)
        if same and set(profiles) <= set(stamp.get("profiles", ())) and set(stamp["ids"]) <= before:
            return
        self._console.step("images", "looking for missing ones; each of those is built")
        ours = endpoint.environment() | {"PYTHONDONTWRITEBYTECODE": "1"}  # no file of root's in a person's checkout
        env = clean_environment(self._machine.environ) | ours
        commands.run(self._command(profiles, [*ours, "BASE", *self._machine.proxies]), self._console, env=env)
        there = _ours(client)
        after, ids = set(there), sorted(image for image, profile in there.items() if profile in profiles)
        added = self._ledger.read()
        fresh = (after - before) | (set(added.images.get("added", [])) & after)
        stamp = {"digest": digest, "host": endpoint.host, "profiles": sorted(profiles), "ids": ids}
        added.images = {**stamp, "added": sorted(fresh)}
        self._ledger.write(added)

    def unpack(self) -> None:
        """Have the default profile's image where bubblewrap looks for it; the program itself finds out if it is."""
        fresh = not Path(UNPACKED).exists()
        ours = {
            "ORCHESTRATOR_DEV": "true",
            "ORCHESTRATOR_SANDBOX__ENGINE": "bubblewrap",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        env = clean_environment(self._machine.environ) | ours
        commands.run(self._command(["default"], [*ours, "BASE", *self._machine.proxies]), self._console, env=env)
        if fresh:
            added = self._ledger.read()
            added.unpacked = UNPACKED
            self._ledger.write(added)

    def _command(self, profiles: Sequence[str], keep: list[str]) -> list[str]:
        """The builder, as root where it lays out a root file system."""
        argv = [str(self._settings.program), "images", "build", "--if-missing", *profiles]
        if self._settings.from_registry:
            return argv
        return self._machine.as_root(argv, interactive=self._console.interactive, keep=keep)


def sources_digest(root: Path) -> str:
    """One digest of all that the images are made from and by: the folders, and the maker of root file systems."""
    digest = hashlib.sha256((root / "orchestrator/sandbox/rootfs.py").read_bytes())
    folder = root / "sandbox_images"
    for file in sorted(folder.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            content = hashlib.sha256(file.read_bytes()).hexdigest()
            digest.update(f"{file.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()


def _ours(client: EngineClient) -> dict[str, str]:
    """Images that carry our label: their profiles by id."""
    labelled = {image["Id"]: image.get("Labels") or {} for image in client.get("/images/json")}
    return {image: labels[_LABEL] for image, labels in labelled.items() if _LABEL in labels}
