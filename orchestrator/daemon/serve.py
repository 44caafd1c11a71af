"""Running the daemon in the foreground: listen, say where, drain when told to."""

import asyncio
import contextlib
import errno
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog
from aiohttp import web

from orchestrator.api import peers
from orchestrator.api.connections import Runner
from orchestrator.api.gate import Gate
from orchestrator.api.idempotency import Idempotency
from orchestrator.api.server import build as build_app
from orchestrator.api.settings import ApiSettings
from orchestrator.audit.entries import Entry
from orchestrator.config.load import Configuration
from orchestrator.config.places import Places
from orchestrator.contracts.errors import StartRefused
from orchestrator.contracts.model import JsonObject
from orchestrator.daemon import lock, notify
from orchestrator.daemon.compose import Daemon, build
from orchestrator.daemon.reload import Reloader

log = structlog.get_logger("daemon")
Say = Callable[[str, JsonObject], None]
_SAME_SIGNAL_S = 1.0
_TALLY_S = 10.0
_PURGE_S = 3600.0
_LAST_WORDS_S = 2.0
"""How long answers that are being sent may take when nothing runs any more."""


async def serve(configuration: Configuration, places: Places, reread: Callable[[], Configuration], say: Say) -> int:
    """Serve until told to stop; the exit code. `say` takes what the one who started it is told: a line, and as JSON."""
    stop = _Stop()
    stop.listen()
    _look_at_port(configuration.settings.api)
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(build(configuration, places))
        address, runner, gate = await open_door(daemon, stack)
        reloader = Reloader(configuration, reread, daemon)
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: daemon.supervisor.child("reload", reloader.reload())
        )
        daemon.rooms.started = True
        lock.announce(places.address, address)
        stack.callback(places.address.unlink, missing_ok=True)
        await daemon.rooms.journal.record(Entry("daemon.started", None, "daemon", data={"address": address}))
        _greet(daemon, address, say)
        notify.notify("READY=1")
        _settle_memory()
        await _until_stopped(stop, daemon)
        await _drain(daemon, runner, gate)
    return 1 if stop.reason.startswith("task") else 0


async def open_door(daemon: Daemon, stack: AsyncExitStack) -> tuple[str, Runner, Gate]:
    """Listen; the address, and what a drain needs. Raises `StartRefused` where the port is taken."""
    rooms = daemon.rooms
    idempotency = Idempotency(rooms.store, rooms.blobs, rooms.clock, rooms.settings.idempotency_ttl_s)
    await idempotency.open()
    app, gate = build_app(rooms, idempotency)
    runner = Runner(app, gate.unread, handle_signals=False, access_log=None, shutdown_timeout=_LAST_WORDS_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    inherited = notify.inherited_socket()
    try:
        if inherited is not None:
            await web.SockSite(runner, inherited).start()
        else:
            await web.TCPSite(runner, rooms.settings.host, rooms.settings.port).start()
    except OSError as fault:
        raise _cannot_listen(rooms.settings, fault) from None
    daemon.supervisor.root("tally", _write_tally(daemon, gate))
    daemon.supervisor.root("purge", _purge(idempotency))
    if (interval := notify.watchdog_interval_s()) is not None:
        daemon.supervisor.root("watchdog", _pat(interval))
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", runner, gate


def _look_at_port(api: ApiSettings) -> None:
    """Raise `StartRefused` where the port is taken, before any state is made for a daemon that cannot serve."""
    if notify.activated():
        return
    for family, kind, protocol, _, address in socket.getaddrinfo(api.host, api.port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as fault:
                if fault.errno != errno.EADDRNOTAVAIL:  # a family that this machine does not have
                    raise _cannot_listen(api, fault) from None


def _cannot_listen(api: ApiSettings, fault: OSError) -> StartRefused:
    reason = os.strerror(fault.errno) if fault.errno else str(fault)
    return StartRefused(f"cannot listen on {api.host}:{api.port}: {reason}")


def _settle_memory() -> None:
    """What was made for the start stays for good: collections need not walk it, nor come so often, at each query."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _greet(daemon: Daemon, address: str, say: Say) -> None:
    for view in daemon.rooms.host.views(admin=True):
        fault = f" ({view.error.message})" if view.error else ""
        line = f"plugin {view.name} {view.version}: {view.state}{fault}; approved by its file, {view.digest[:12]}"
        say(line, {"said": "plugin", **view.model_dump(mode="json", include={"name", "version", "state", "digest"})})
    grant = "code in containers without a network, in the operator's name"
    say(f"default grant: {grant}", {"said": "default_grant", "detail": grant})
    engine = daemon.rooms.checks()["engine"]
    say(f"sandbox: {engine['status']}, {engine['detail']}", {"said": "sandbox", **engine})
    if not peers.is_loopback_address(daemon.rooms.settings.host):
        say("listening beyond loopback: every request needs a key", {"said": "needs_key"})
    key = str(daemon.places.admin_key)
    say(
        f"orchestrator is ready at {address} (admin key in {key})",
        {"said": "ready", "address": address, "admin_key_file": key},
    )


async def _until_stopped(stop: "_Stop", daemon: Daemon) -> None:
    waiting = daemon.supervisor.child("stop", stop.event.wait())
    failed = daemon.supervisor.failed
    await asyncio.wait({waiting, failed}, return_when=asyncio.FIRST_COMPLETED)
    if failed.done() and not failed.cancelled():
        stop.reason = f"task {failed.result()} ended"
    waiting.cancel()
    log.info("daemon.draining", reason=stop.reason)


async def _drain(daemon: Daemon, runner: Runner, gate: Gate) -> None:
    """Take nothing new, finish what runs, write down what was counted (CONTRACT 0 and 1).

    The door stays open until what runs has ended: whoever asks meanwhile is told `draining`, not refused a connection.
    """
    notify.notify("STOPPING=1")
    daemon.rooms.draining = True
    daemon.rooms.journal.wake()
    longest_s = daemon.rooms.settings.shutdown_ms / 1000
    ends_at = daemon.rooms.clock.monotonic() + longest_s
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await gate.work.ended()
    await daemon.rooms.executions.drain(max(0.0, ends_at - daemon.rooms.clock.monotonic()))
    await runner.cleanup()
    await _record_tally(daemon, gate, None)
    await daemon.rooms.journal.record(Entry("daemon.stopped", None, "daemon"))


async def _write_tally(daemon: Daemon, gate: Gate) -> None:
    while True:
        await asyncio.sleep(_TALLY_S)
        await _record_tally(daemon, gate, int(daemon.rooms.clock.now().timestamp() // 60))


async def _record_tally(daemon: Daemon, gate: Gate, before_minute: int | None) -> None:
    """One audit row for each peer and minute of refusals before authentication (CONTRACT 1)."""
    entries = [
        Entry("request.refused", None, "unknown", "refused", {"peer": peer, "minute": minute * 60, "counts": counts})
        for peer, minute, counts in gate.tally.take(before_minute)
    ]
    if entries:
        await daemon.rooms.journal.record(*entries)


async def _purge(idempotency: Idempotency) -> None:
    while True:
        await asyncio.sleep(_PURGE_S)
        await idempotency.purge()


async def _pat(interval_s: float) -> None:
    while True:
        notify.notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)


class _Stop:
    """SIGTERM and SIGINT: the first drains, those within a second are the same one, a later one ends at once."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.reason = ""
        self._first = 0.0

    def listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self.event.is_set():
            self._first, self.reason = now, signal.Signals(number).name
            self.event.set()
        elif now - self._first > _SAME_SIGNAL_S:
            log.warning("daemon.ended_at_once", signal=signal.Signals(number).name)
            os._exit(128 + number)
