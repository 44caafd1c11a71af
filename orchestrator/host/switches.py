"""Which plugins a person has switched off, kept in one small file across restarts."""

import json
import os
from pathlib import Path

from orchestrator.contracts.errors import StartRefused


class Switches:
    """The names of disabled plugins. Every change is on the disk before it is told."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "plugins.json"
        self._disabled: frozenset[str] = frozenset()

    def load(self) -> None:
        """Read the file. One that cannot be read stops the start: what was switched off must not come back on."""
        try:
            found = json.loads(self._path.read_bytes())["disabled"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise StartRefused(self._advice(str(fault))) from None
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise StartRefused(self._advice("`disabled` is no list of names"))
        self._disabled = frozenset(found)

    def is_off(self, name: str) -> bool:
        """Whether the plugin of this name is switched off."""
        return name in self._disabled

    def set(self, name: str, *, off: bool) -> None:
        """Switch a plugin off or on."""
        changed = self._disabled | {name} if off else self._disabled - {name}
        if changed == self._disabled:
            return
        beside = self._path.with_suffix(".new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w") as file:
            json.dump({"disabled": sorted(changed)}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        self._disabled = changed

    def _advice(self, why: str) -> str:
        return f"{self._path} cannot be read ({why}); mend it, or remove it to enable all plugins"
