"""What is left on this machine of a daemon's containers, by the engine's own record of all that were ever made."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker

from orchestrator.sandbox import engines
from orchestrator.sandbox.backends.docker import LABEL_DAEMON
from tests.campaigns import rig

_ID = re.compile(r"[0-9a-f]{64}")
_ASKING_S = 30


class Traces:
    """Follows the engine's events from its making to its end."""

    def __init__(self) -> None:
        self._client = engines.connect(engines.find(None), _ASKING_S)
        self._volumes = self._volume_names()
        self._daemons: dict[str, str] = {}
        filters = {"label": LABEL_DAEMON, "event": ["create"]}
        self._following = docker.APIClient(engines.find(None).url, timeout=None)  # an event may be long in coming
        self._events = self._following.events(filters=filters, decode=True)
        self._thread = threading.Thread(target=self._follow, name="engine-events")
        self._thread.start()

    def made(self, daemon: str) -> set[str]:
        """The ids of all containers that this daemon made."""
        return {container for container, owner in list(self._daemons.items()) if owner == daemon}

    def left(self, daemon: str) -> dict[str, list[str]]:
        """What is left of them, by kind; all lists are empty where nothing is."""
        ids = self.made(daemon)
        there = self._client.containers(all=True, filters={"label": f"{LABEL_DAEMON}={daemon}"})
        root = Path(self._client.info()["DockerRootDir"])
        kept = [root / "containers", root / "image/overlay2/layerdb/mounts"]
        return {
            "containers": [entry["Names"][0] for entry in there],
            "volumes": sorted(self._volume_names() - self._volumes),
            "cgroups": [str(path) for path in rig.paths(Path("/sys/fs/cgroup")) if _names(path.name) & ids],
            "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if _names(line) & ids],
            "folders of the engine": [
                str(folder / name) for folder in kept for name in ids if (folder / name).exists()
            ],
            "processes of the engine": _command_lines(ids),
        }

    def close(self) -> None:
        """End the following."""
        self._events.close()
        self._thread.join(_ASKING_S)
        self._following.close()
        self._client.close()

    def _follow(self) -> None:
        for event in self._events:
            actor: dict[str, Any] = event["Actor"]
            self._daemons[actor["ID"]] = actor["Attributes"].get(LABEL_DAEMON, "")

    def _volume_names(self) -> set[str]:
        return {volume["Name"] for volume in self._client.volumes()["Volumes"] or []}


@contextmanager
def following() -> Iterator[Traces]:
    """Traces of everything that is made within the block."""
    traces = Traces()
    try:
        yield traces
    finally:
        traces.close()


def _names(text: str) -> set[str]:
    return set(_ID.findall(text))


def _command_lines(ids: set[str]) -> list[str]:
    """Processes that have one of these ids on their command line, such as an engine's shim."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if _names(line) & ids:
            found.append(line)
    return found
