"""An editable wheel of this project, made without a build tool: metadata, entry points, and a path file.

Build tools are not among the locked dependencies, and none is needed to point an environment at a folder (PEP 660).
"""

import base64
import hashlib
import tomllib
import zipfile
from pathlib import Path
from typing import Any


def write(root: Path, folder: Path) -> Path:
    """Write the wheel of the project at `root` into `folder` and answer its path."""
    project = metadata(root)
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    info = f"{stem}.dist-info"
    files = {
        f"{project['name']}.pth": f"{root}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: orchestrator\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": _entry_points(project),
    }
    files[f"{info}/RECORD"] = "".join(_record_line(name, text) for name, text in files.items()) + f"{info}/RECORD,,\n"
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def metadata(root: Path) -> dict[str, Any]:
    """What the wheel says of the project: name, version, scripts and entry points."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return {key: value for key, value in project.items() if key in {"name", "version", "scripts", "entry-points"}}


def _entry_points(project: dict[str, Any]) -> str:
    scripts = {"console_scripts": project.get("scripts", {})}
    groups: dict[str, dict[str, str]] = scripts | project.get("entry-points", {})
    return "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items()) + "\n"
        for group, entries in groups.items()
    )


def _record_line(name: str, text: str) -> str:
    data = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"
