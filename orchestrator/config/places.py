"""Where things lie on disk: the state directory, the checkout, what ships with it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one daemon."""

    state: Path
    plugin_folders: tuple[Path, ...]
    images: Path

    @property
    def database(self) -> Path:
        return self.state / "orchestrator.db"

    @property
    def blobs(self) -> Path:
        return self.state / "blobs.db"

    @property
    def admin_key(self) -> Path:
        return self.state / "admin.key"

    @property
    def lock(self) -> Path:
        return self.state / "daemon.lock"

    @property
    def address(self) -> Path:
        """The address of the daemon that holds the state, while one does."""
        return self.state / "daemon.json"


def checkout() -> Path | None:
    """The checkout that this package runs from, or None if it is installed elsewhere."""
    return ROOT if (ROOT / "pyproject.toml").exists() else None


def places(state: Path | None, plugins: list[Path], environ: Mapping[str, str] | None = None) -> Places:
    """Resolve the folders. State: flag, the service manager's `STATE_DIRECTORY`, `ORCHESTRATOR_STATE_DIR`, `state/`."""
    env = os.environ if environ is None else environ
    named = (env.get("STATE_DIRECTORY", "").split(":")[0], env.get("ORCHESTRATOR_STATE_DIR"))
    chosen = state or next((Path(n) for n in named if n), None)
    base = checkout() or Path.cwd()
    extra = [Path(p) for p in env.get("ORCHESTRATOR_PLUGINS", "").split(":") if p]
    bundled = [ROOT / "plugins"] if (ROOT / "plugins").is_dir() else []
    return Places(
        state=(chosen or base / "state").resolve(),
        plugin_folders=tuple(p.resolve() for p in (*bundled, *plugins, *extra)),
        images=ROOT / "sandbox_images",
    )
