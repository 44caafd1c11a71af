"""This machine's way to the distribution's packages and to Python's, as far as a fresh root can use it.

Nothing here names a server: all addresses come from the machine's own configuration.
"""

import configparser
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.bootstrap import commands

_POCKETS = ("", "-updates", "-security")
_COMPONENTS = {"main", "universe", "restricted", "contrib", "non-free", "non-free-firmware", "multiverse"}
_ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?\S+\s+(?P<suite>\S+)\s+(?P<components>.+)$")
_APT_OPTIONS = re.compile(r'^Acquire::(?:https?::(?:Proxy|CaInfo)\S*|Check-\S+|Retries\S*|ForceIPv\d) "[^"]+";$')
_ENVIRONMENT = re.compile(r"^(?:PIP_.*|(?:https?|no|all)_proxy|(?:SSL|REQUESTS|CURL)_.*|LANG|TERM)$", re.IGNORECASE)
_LOCAL = re.compile(r"(?:^|\s)(?:file:|/)")


@dataclass(frozen=True)
class Release:
    """The distribution and its release, such as `debian` and `bookworm`; empty where the machine names none."""

    distribution: str
    codename: str

    @classmethod
    def of(cls, os_release: str) -> "Release":
        """From the text of `/etc/os-release`."""
        fields = dict(re.findall(r"^(ID|VERSION_CODENAME)=\"?(\w+)", os_release, re.MULTILINE))
        return cls(fields.get("ID", ""), fields.get("VERSION_CODENAME", ""))


def apt_sources(root: Path, release: Release) -> dict[str, str]:
    """The distribution's own entries of `/etc/apt`, by file as a fresh machine has them; third parties' are left out.

    Entries of one line go into `sources.list`, stanzas into `sources.list.d/DISTRIBUTION.sources`.
    """
    etc = root / "etc" / "apt"
    files = sorted([etc / "sources.list", *etc.glob("sources.list.d/*.list"), *etc.glob("sources.list.d/*.sources")])
    entries = [entry for file in files if file.is_file() for entry in _entries(file)]
    found: dict[str, str] = {}
    for entry in entries:
        if _is_distribution(entry, release.codename):
            name = "sources.list" if _ONE_LINE.match(entry) else f"sources.list.d/{release.distribution}.sources"
            found[name] = found.get(name, "") + f"{entry}\n\n"
    return found


def apt_options() -> list[str]:
    """Proxies and the like of this machine's apt, as lines of its configuration."""
    return [line for line in commands.output(["apt-config", "dump"]).splitlines() if _APT_OPTIONS.match(line)]


def pip_configuration(home: Path) -> str:
    """Python's package index as this machine has it: `pip.conf` without what points at local folders."""
    config = configparser.RawConfigParser()
    config.read([Path("/etc/pip.conf"), home / ".pip" / "pip.conf", home / ".config" / "pip" / "pip.conf"])
    chosen = dict(config["global"]) if "global" in config else {}
    lines = [f"{key} = {value}" for key, value in chosen.items() if key == "cert" or not _LOCAL.search(value)]
    return "[global]\n" + "\n".join(lines) + "\n"


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of our environment a fresh root gets: proxies, certificates, pip's settings that name nothing local."""
    chosen = {name: value for name, value in environ.items() if _ENVIRONMENT.match(name)}
    return {
        name: value for name, value in chosen.items()
        if not name.startswith("PIP_") or name == "PIP_CERT" or not _LOCAL.search(value)
    }  # fmt: skip


def copy_trust(target: Path) -> None:
    """Give a fresh root this machine's certificates and name servers."""
    for path in ("etc/ssl/certs/ca-certificates.crt", "etc/resolv.conf"):
        destination = target / path
        destination.unlink(missing_ok=True)  # resolv.conf may be a link to a file that a service keeps
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path("/") / path, destination)
    own = Path("/usr/local/share/ca-certificates")
    if own.is_dir():
        shutil.copytree(own, target / own.relative_to("/"), dirs_exist_ok=True)


def _entries(file: Path) -> Iterator[str]:
    text = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#"))
    parts = re.split(r"\n\s*\n", text) if file.suffix == ".sources" else text.splitlines()
    yield from (part.strip() for part in parts)


def _is_distribution(entry: str, release: str) -> bool:
    """Whether an entry is of this release's own suites and components."""
    if line := _ONE_LINE.match(entry):
        suites, components = [line["suite"]], line["components"].split()
    else:
        fields = dict(re.findall(r"^(\S+):[ \t]*(.*)$", entry, re.MULTILINE))
        if fields.get("Enabled", "yes") != "yes" or "deb" not in fields.get("Types", "").split():
            return False
        suites, components = fields.get("Suites", "").split(), fields.get("Components", "").split()
    own = {f"{release}{pocket}" for pocket in _POCKETS}
    return bool(suites and components) and set(suites) <= own and set(components) <= _COMPONENTS
