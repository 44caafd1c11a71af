"""A plugin's files, each read once through one descriptor: what is checked is what is hashed is what is compiled."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.host.ownership import Owners, Refused
from orchestrator.host.settings import HostSettings
from orchestrator.host.sources import Snapshot, Source

Signature = tuple[tuple[str, int, int, int, int, int, int], ...]
"""Name, inode, size, times of change, mode and owner of each file: equal as long as nothing was touched."""


def signature(source: Source, settings: HostSettings) -> Signature:
    """A cheap fingerprint of a source's files. A file that vanishes meanwhile is left out."""
    facts = []
    for path in (source.folder, *_paths(source, settings)):
        try:
            found = path.stat()
        except OSError:
            continue
        changed = (0, 0, 0) if path == source.folder else (found.st_size, found.st_ctime_ns, found.st_mtime_ns)
        facts.append((str(path), found.st_ino, *changed, found.st_mode, found.st_uid))
    return tuple(facts)


def read(source: Source, settings: HostSettings, owners: Owners) -> Snapshot:
    """Check and read all files of a source. Raises `Refused` with what mends it, or `OSError`."""
    root = source.path if source.is_package else source.path.parent
    files: dict[str, bytes] = {}
    total = 0
    if source.kind == "folder":
        owners.check(source.folder.stat(), source.folder, source.folder)
    for path in _paths(source, settings):
        if path.is_dir():
            _check_folder(path, source, owners)
            continue
        content = _read_file(path, source, settings, owners)
        total += len(content)
        if total > settings.max_package_bytes:
            raise Refused(f"its files are larger than {settings.max_package_bytes} bytes together")
        files[path.relative_to(root).as_posix()] = content
    return Snapshot(source, files, _digest(files))


def _paths(source: Source, settings: HostSettings) -> Iterator[Path]:
    """The file, or all folders and files of a package but caches and hidden ones, in a fixed order."""
    if not source.is_package:
        yield source.path
        return
    count = 0
    for folder, folders, names in os.walk(source.path):
        folders[:] = sorted(f for f in folders if f != "__pycache__" and not f.startswith("."))
        yield Path(folder)
        yield from (linked for f in folders if (linked := Path(folder, f)).is_symlink())
        for name in sorted(n for n in names if not n.startswith(".") and not n.endswith("~")):
            count += 1
            if count > settings.max_package_files:
                raise Refused(f"it has more than {settings.max_package_files} files")
            if source.kind == "folder" or name.endswith(".py"):
                yield Path(folder, name)


def _check_folder(path: Path, source: Source, owners: Owners) -> None:
    if source.kind == "entry_point":
        return
    if path.is_symlink() and path != source.path:
        raise Refused(f"{path.name} is a symbolic link to a folder; put the folder itself into the plugin")
    _check_inside(str(path.resolve()), source)
    owners.check(path.stat(), path, source.folder)


def _read_file(path: Path, source: Source, settings: HostSettings, owners: Owners) -> bytes:
    # Without O_NONBLOCK the mere opening of a FIFO would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Refused(f"{path.name} is not a regular file")
        if source.kind == "folder":
            _check_inside(str(Path(f"/proc/self/fd/{descriptor}").readlink()), source)
            owners.check(facts, path, source.folder)
        content = file.read(settings.max_file_bytes + 1)
    if len(content) > settings.max_file_bytes:
        raise Refused(f"{path.name} is larger than {settings.max_file_bytes} bytes")
    return content


def _check_inside(real: str, source: Source) -> None:
    if not Path(real).is_relative_to(source.folder.resolve()):
        raise Refused(
            f"{source.path.name} is a symbolic link out of its folder; copy the file itself into {source.folder.name}/"
        )


def _digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names, lengths and contents, so that no two sets of files have the same input."""
    whole = hashlib.sha256()
    for name in sorted(files):
        raw = os.fsencode(name)
        whole.update(b"%d %d " % (len(raw), len(files[name])) + raw + files[name])
    return whole.hexdigest()
