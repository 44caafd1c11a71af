"""Where a plugin lies, and all bytes of one version of it. Data alone; `reading` makes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Source:
    """A place where a plugin lies: `NAME.py`, a package folder, or an installed distribution's module.

    `folder` is what the file must not leave; `entry` and `attribute` say which module and member of an installed
    package are meant.
    """

    kind: Literal["folder", "entry_point"]
    path: Path
    folder: Path
    name: str
    origin: str
    entry: str = ""
    attribute: str = ""

    @property
    def is_package(self) -> bool:
        """Whether it is a folder of files."""
        return self.path.suffix != ".py"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All bytes of one version of a plugin, by path relative to the plugin's root, and the digest over them."""

    source: Source
    files: Mapping[str, bytes] = field(repr=False)
    digest: str

    @property
    def main(self) -> bytes:
        """The source text that holds `PLUGIN`."""
        if not self.source.is_package:
            return self.files[self.source.path.name]
        inner = self.source.entry.replace(".", "/")
        return next(
            (self.files[n] for n in (f"{inner}.py", f"{inner}/__init__.py", "__init__.py") if n in self.files), b""
        )

    def modules(self) -> dict[str, tuple[str, bool]]:
        """Dotted module name below the root ("" is the root itself) -> (file, whether it is a package)."""
        if not self.source.is_package:
            return {"": (self.source.path.name, False)}
        found: dict[str, tuple[str, bool]] = {}
        for name in sorted(self.files):
            if name.endswith(".py"):
                parts = name.removesuffix(".py").split("/")
                package = parts[-1] == "__init__"
                found[".".join(parts[:-1] if package else parts)] = (name, package)
        return found
