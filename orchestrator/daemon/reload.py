"""SIGHUP: the configuration is read again as a transaction, wholly good or not at all."""

from collections.abc import Callable

import structlog

from orchestrator.audit.entries import Entry
from orchestrator.config.load import BadConfiguration, Configuration
from orchestrator.config.render import effective
from orchestrator.daemon import notify
from orchestrator.daemon.compose import Daemon
from orchestrator.kernel import logs

log = structlog.get_logger("daemon")
_LIVE = ("routing.", "logs.")


class Reloader:
    """Applies what can change while serving, and names what waits for a restart."""

    def __init__(self, configuration: Configuration, reread: Callable[[], Configuration], daemon: Daemon) -> None:
        self._configuration = configuration
        self._reread = reread
        self._daemon = daemon

    async def reload(self) -> None:
        """Read, judge, apply. A configuration with a fault changes nothing."""
        notify.notify("RELOADING=1")
        try:
            new = self._reread()
        except BadConfiguration as bad:
            log.error("config.refused", faults=bad.faults)
            await self._record("refused", {"faults": bad.faults})
        else:
            await self._apply(new)
        notify.notify("READY=1")

    async def _apply(self, new: Configuration) -> None:
        before = {name: value for name, value, _ in effective(self._configuration)}
        after = {name: value for name, value, _ in effective(new)}
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        waiting = [name for name in changed if not name.startswith(_LIVE)]
        self._daemon.rooms.desk.configure(new.settings.routing)
        logs.configure(new.settings.logs.level, new.settings.logs.style)
        self._configuration = new
        log.info("config.reloaded", changed=changed, needs_restart=waiting)
        await self._record("ok", {"changed": changed, "needs_restart": waiting})

    async def _record(self, outcome: str, data: dict[str, list[str]]) -> None:
        await self._daemon.rooms.journal.record(Entry("config.reloaded", None, "daemon", outcome, dict(data)))
