"""Where plugins are: files and packages in the plugin folders, and installed distributions (R2-11)."""

from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from orchestrator.host.sources import Source

GROUP = "orchestrator.plugins"


def in_folders(folders: Sequence[Path]) -> list[Source]:
    """All plugins of the folders, in the folders' order and then by name. A folder that is not there has none."""
    return [source for folder in folders for source in _in_folder(folder)]


def _in_folder(folder: Path) -> Iterator[Source]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return
    for path in paths:
        if path.name.startswith(("_", ".")):
            continue
        if path.suffix == ".py" and not path.is_dir():
            yield Source("folder", path, folder, printable(path.stem), f"folder:{printable(path.name)}")
        elif path.is_dir() and (path / "__init__.py").exists():
            yield Source("folder", path, folder, printable(path.name), f"folder:{printable(path.name)}/")


def installed() -> list[Source]:
    """All plugins that installed distributions declare. Nothing of them is imported here."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return [_of_entry_point(point) for point in points]


def _of_entry_point(point: EntryPoint) -> Source:
    top, _, entry = point.module.partition(".")
    path = _root(PathFinder.find_spec(top), top)
    dist = point.dist.name if point.dist is not None else point.name
    return Source("entry_point", path, path.parent, point.name, f"entry_point:{dist}", entry, point.attr or "")


def _root(spec: ModuleSpec | None, top: str) -> Path:
    """The file or package folder of a module; one that is lost is listed as a plugin whose files cannot be read."""
    if spec is None or spec.origin is None:
        return Path("/nonexistent", f"{top}.py")
    origin = Path(spec.origin)
    return origin.parent if spec.submodule_search_locations else origin


def printable(name: str) -> str:
    """A file name as text that any log and JSON document can carry."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
