"""Every version of a plugin is imported under a name of its own, from the bytes that were checked.

No bytecode cache, no second look at the disk, and two versions of one plugin live side by side until the old one ends.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from itertools import count
from types import CodeType, FrameType, ModuleType
from typing import Any

from orchestrator.host.sources import Snapshot

PREFIX = "orchestrator_plugin_"
_numbers = count(1)


def root_of(frame: FrameType) -> str | None:
    """The root module name of the plugin version that a frame belongs to, or None."""
    name = frame.f_globals.get("__name__")
    return name.partition(".")[0] if isinstance(name, str) and name.startswith(PREFIX) else None


class Shelf(MetaPathFinder):
    """Holds the versions that are there, and finds their modules for Python's import."""

    def __init__(self) -> None:
        self._versions: dict[str, Snapshot] = {}

    def open(self) -> None:
        """Take part in imports."""
        sys.meta_path.insert(0, self)

    def close(self) -> None:
        """Forget all versions and take part no more."""
        for root in list(self._versions):
            self.drop(root)
        sys.meta_path.remove(self)

    def add(self, snapshot: Snapshot) -> str:
        """Keep a version; answers its root module name, which nothing else has or will have."""
        stem = "".join(c if c.isascii() and c.isalnum() else "_" for c in snapshot.source.name)
        root = f"{PREFIX}{stem}_{next(_numbers)}"
        self._versions[root] = snapshot
        return root

    def drop(self, root: str) -> None:
        """Forget a version and its modules."""
        self._versions.pop(root, None)
        for name in [n for n in sys.modules if n == root or n.startswith(f"{root}.")]:
            sys.modules.pop(name, None)

    def source_line(self, module: str, line: int) -> str:
        """One line of a version's own text, as it was when imported; empty if unknown."""
        root, _, inner = module.partition(".")
        snapshot = self._versions.get(root)
        file = snapshot.modules().get(inner) if snapshot is not None else None
        if snapshot is None or file is None:
            return ""
        lines = snapshot.files[file[0]].decode("utf-8", "replace").splitlines()
        return lines[line - 1].strip() if 0 < line <= len(lines) else ""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Python's question for a module; none but our own names are answered."""
        root, _, inner = fullname.partition(".")
        snapshot = self._versions.get(root)
        if snapshot is None:
            return None
        modules = snapshot.modules()
        file, package = modules.get(inner, ("", any(name.startswith(f"{inner}.") for name in modules)))
        if file or package:
            return _spec(snapshot, fullname, file, package)
        if snapshot.source.kind == "folder":
            where = f"{snapshot.source.path.name}{'/' if snapshot.source.is_package else ''}"
            raise ModuleNotFoundError(f"there is no module {inner!r} in {where}", name=fullname)
        return None  # an installed distribution may hold compiled modules, which others find


def import_version(snapshot: Snapshot, root: str) -> tuple[ModuleType, Any]:
    """Import a version on the shelf: its module, and the object whose hooks count.

    That object is the named member of an installed one, an instance of the module's class `Plugin`, or the module.
    Whatever the plugin's code raises goes through.
    """
    module = importlib.import_module(f"{root}.{snapshot.source.entry}" if snapshot.source.entry else root)
    target: Any = module
    for step in filter(None, snapshot.source.attribute.split(".")):
        target = getattr(target, step)
    if target is module and isinstance(own := vars(module).get("Plugin"), type) and own.__module__.startswith(root):
        target = own
    return module, target() if isinstance(target, type) else target


DECLARED = (
    "name", "version", "description", "intents", "keywords", "examples", "timeout_s", "isolation", "effects", "config",
)  # fmt: skip
"""What a plugin may say of itself; `manifests` checks it."""


def stated(module: ModuleType, target: Any) -> Any:
    """What a plugin says of itself, not yet checked: `PLUGIN`, else the attributes of its class `Plugin`."""
    if "PLUGIN" in vars(module) or target is module:
        return vars(module).get("PLUGIN", {})
    members = vars(type(target))
    return {name: members[name] for name in DECLARED if name in members and not callable(members[name])}


def _spec(snapshot: Snapshot, fullname: str, file: str, package: bool) -> ModuleSpec:
    base = snapshot.source.path if snapshot.source.is_package else snapshot.source.path.parent
    inner = fullname.partition(".")[2].replace(".", "/")
    origin = str(base / file) if file else None
    spec = ModuleSpec(fullname, _Loader(snapshot, file, package), origin=origin, is_package=package)
    spec.has_location = bool(file)
    if package:
        spec.submodule_search_locations = [str(base / inner)]
    return spec


class _Loader(InspectLoader):
    """Runs one module's bytes, which were read when the version was checked."""

    def __init__(self, snapshot: Snapshot, file: str, package: bool) -> None:
        self._snapshot = snapshot
        self._file = file
        self._package = package

    def is_package(self, fullname: str) -> bool:
        return self._package

    def get_source(self, fullname: str) -> str:
        return self._bytes().decode("utf-8", "replace")

    def get_code(self, fullname: str) -> CodeType:
        base = self._snapshot.source.path if self._snapshot.source.is_package else self._snapshot.source.path.parent
        return compile(self._bytes(), str(base / self._file), "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), vars(module))  # noqa: S102 - running a checked plugin is what a host is for

    def _bytes(self) -> bytes:
        return self._snapshot.files[self._file] if self._file else b""
