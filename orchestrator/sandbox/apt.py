"""Where this machine gets its packages: the distribution's own entries of the apt configuration, and nobody else's.

An image is built from what the machine itself trusts. Lists of third parties are left out, and no mirror is named here.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from orchestrator.contracts.errors import StartRefused

_OWN_FILES = ("sources.list", "sources.list.d/debian.sources", "sources.list.d/ubuntu.sources")
_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")
_POCKETS = ("", "-updates", "-security", "/updates")


def codename(etc: Path = Path("/etc")) -> str:
    """The name of the machine's release, such as `bookworm`. Raises `StartRefused` where it says none."""
    release = etc / "os-release"
    found = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', release.read_text() if release.exists() else "", re.MULTILINE)
    if found is None:
        raise StartRefused(f"{release} names no release, and sandbox images are built from the distribution's packages")
    return found[1]


def sources(etc: Path = Path("/etc")) -> list[str]:
    """The distribution's own package sources, one `deb` line each. Raises `StartRefused` where there are none."""
    release = codename(etc)
    suites = {release + pocket for pocket in _POCKETS}
    lines = [line for name in _OWN_FILES for line in _entries(etc / "apt" / name) if _suite(line) in suites]
    if not lines:
        raise StartRefused(f"the apt configuration in {etc / 'apt'} has no entry of the distribution for {release}")
    return list(dict.fromkeys(lines))


def proxy_options() -> list[str]:
    """The machine's own apt proxies, as options to hand on."""
    done = subprocess.run(["/usr/bin/apt-config", "dump"], capture_output=True, text=True, check=False)
    return re.findall(r'^(Acquire::https?::Proxy\S* "[^"]+";)$', done.stdout, re.MULTILINE)


def _entries(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    text = path.read_text()
    if path.suffix == ".sources":
        for stanza in re.split(r"\n\s*\n", text):
            yield from _stanza(stanza)
    else:
        for raw in text.splitlines():
            if found := _LINE.match(raw.partition("#")[0].strip()):
                yield _line(found["uri"], found["suite"], found["components"], found["options"] or "")


def _stanza(text: str) -> Iterator[str]:
    """The `deb` lines of one stanza of the newer form."""
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    fields = {
        name.lower(): value.strip() for name, value in re.findall(r"^([\w-]+):(.*(?:\n[ \t].*)*)", kept, re.MULTILINE)
    }
    if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
        return
    key = fields.get("signed-by", "")
    options = f"signed-by={key}" if key.startswith("/") else ""
    for uri in fields.get("uris", "").split():
        for suite in fields.get("suites", "").split():
            yield _line(uri, suite, fields.get("components", ""), options)


def _line(uri: str, suite: str, components: str, options: str) -> str:
    return " ".join(
        part for part in ("deb", f"[{options.strip()}]" if options.strip() else "", uri, suite, components) if part
    )


def _suite(line: str) -> str:
    found = _LINE.match(line)
    return found["suite"] if found else ""
