"""From bytes to a version in service: import, check what it says of itself, hand the manager over."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.contracts.errors import OrchestratorError
from orchestrator.host.generations import Generation
from orchestrator.host.manifests import BadManifest, Manifest, check_undone, checked, configured
from orchestrator.host.process import ProcessVersion
from orchestrator.host.sources import Snapshot
from orchestrator.host.versions import Broken, InlineVersion, Tools, Version
from orchestrator.kernel.clock import Clock

Claim = Callable[[str], None]
"""`claim(name)` raises `Broken` if another plugin has that name, or if it must not run."""


class Loader:
    """Makes generations."""

    def __init__(
        self, tools: Tools, clock: Clock, config: Mapping[str, Mapping[str, Any]],
        secrets: Mapping[str, Mapping[str, str]],
    ) -> None:  # fmt: skip
        self._tools = tools
        self._clock = clock
        self._config = config
        self._secrets = secrets

    async def load(self, snapshot: Snapshot, isolation: Any, number: int, claim: Claim) -> Generation:
        """A generation that is ready to serve. Raises `Broken`; then, and when cancelled, nothing of it is left."""
        version = self._version(snapshot, isolation)
        try:
            await version.load()
            manifest, config = await self._checked(version, snapshot, isolation)
            claim(manifest.name)
            await version.init(manifest, config, self._secrets.get(manifest.name, {}))
        except BaseException:
            await version.close()
            raise
        return Generation(number, snapshot, manifest, version)

    def _version(self, snapshot: Snapshot, isolation: Any) -> InlineVersion | ProcessVersion:
        if isolation == "process":
            return ProcessVersion(snapshot, self._tools, self._clock)
        if isolation == "inline":
            return InlineVersion(snapshot, self._tools)
        try:
            checked({"isolation": isolation}, name="unnamed", timeout_s=1.0)
        except BadManifest as fault:
            raise Broken(str(fault)) from None
        raise Broken(f"isolation {isolation!r} cannot be served")

    async def _checked(self, version: Version, snapshot: Snapshot, isolation: str) -> tuple[Manifest, dict[str, Any]]:
        """In a thread, because a schema's patterns may take any time."""

        def check() -> tuple[Manifest, dict[str, Any]]:
            manifest = checked(version.raw, name=snapshot.source.name, timeout_s=self._tools.settings.timeout_s)
            check_undone(manifest, version.hooks)
            return manifest, configured(manifest, self._config.get(manifest.name, {}))

        try:
            manifest, config = await version.off_loop(check, self._tools.settings.import_timeout_s)
        except BadManifest as fault:
            raise Broken(str(fault)) from None
        except OrchestratorError as fault:
            raise Broken(f"checking PLUGIN: {fault.detail}") from None
        if manifest.isolation != isolation:
            raise Broken("`isolation` is read before the plugin is imported: write its value into PLUGIN as it is")
        return manifest, config
