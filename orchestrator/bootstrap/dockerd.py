"""The engine that `make` starts where no service manager does: in a session of its own, stays, and is ended by its pid.

Its record lies in /run, not in the checkout: the engine is the machine's, and any checkout may end it.
"""

import fcntl
import json
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.bootstrap import cgroups, processes
from orchestrator.bootstrap.client import Answer, EngineClient
from orchestrator.bootstrap.console import Console, Problem
from orchestrator.bootstrap.contexts import SYSTEM_SOCKET, Endpoint

_START_S = 60.0
_STOP_S = 30.0
_GVISOR = ["--network=none", "--platform=ptrace", "--oci-seccomp"]
"""What `runsc` is registered with: loopback alone, the one platform that works on any machine, our system call filter.

Not with `--ignore-cgroups`: it shall put its processes into the control group in which the engine bounds a container.
"""


@dataclass(frozen=True)
class OwnEngine:
    """Where the engine of ours keeps what; the defaults are the machine's one, at the usual socket.

    `options` are further options of dockerd's command line, by long name.
    """

    socket: Path = Path(SYSTEM_SOCKET)
    record: Path = Path("/run/orchestrator-engine.json")
    log: Path = Path("/var/log/orchestrator-engine.log")
    config: Path = Path("/etc/docker/daemon.json")
    run: Path = Path("/var/run")  # of the engine's own pid files
    runsc: Path = Path("/usr/bin/runsc")  # registered as a runtime where it is installed
    options: Mapping[str, str] = field(default_factory=dict)

    def start(self, dockerd: Path, console: Console) -> None:
        """Start it, as root, and wait until it answers. Raises `Problem` with the last lines of its log.

        A second call meanwhile, from another checkout too, waits and finds it running.
        """
        with self.record.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._client().hear().answer is not Answer.READY:
                self._start(dockerd, console)

    def stop(self, console: Console) -> bool:
        """End exactly the process that we started, as root; False where there is none."""
        record = self.running()
        if record is not None:
            console.step("engine", f"ending process {record['pid']} and its containers")
            processes.end(int(record["pid"]), int(record["started"]), wait_s=_STOP_S)
            if record.get("bound"):
                subprocess.run(["umount", record["bound"]], capture_output=True, check=False)
        for file in (self.record, self.log, self._extended):
            file.unlink(missing_ok=True)
        return record is not None

    def running(self) -> dict[str, Any] | None:
        """The record of the one that we started, None if none of ours runs.

        `{"pid", "started", "bound"}`: the last is the data folder where dockerd mounts it onto itself, for good.
        """
        try:
            record: dict[str, Any] = json.loads(self.record.read_text())
            since = processes.started(int(record["pid"]))
            return record if since is not None and since == record["started"] else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def command(self, dockerd: Path, config: Path | None = None) -> list[str]:
        """The command line: no bridge and no firewall rules, since no job has a network.

        An option that the machine's own configuration file sets is left to it; `dockerd` refuses to be told twice.
        `config` is a file to be read in place of that one.
        """
        options = {"bridge": "none", "iptables": "false", "host": f"unix://{self.socket}", "log-level": "warn"}
        options |= {"config-file": str(config)} if config else {}
        told = self._configured()
        ours = {name: value for name, value in options.items() if not {name, f"{name}s"} & set(told)}
        return [str(dockerd), *(f"--{name}={value}" for name, value in {**ours, **self.options}.items())]

    @property
    def _extended(self) -> Path:
        return self.record.with_suffix(".config.json")

    def with_runsc(self) -> Path | None:
        """A copy of the machine's configuration with gVisor as a runtime; None where it is not installed, or there.

        A runtime with arguments can be told in a file alone, and the machine's own file is not ours to change.
        """
        told = self._configured()
        runtimes = told.get("runtimes", {})
        if "runsc" in runtimes or not self.runsc.exists():
            return None
        runsc = {"path": str(self.runsc), "runtimeArgs": _GVISOR}
        self._extended.write_text(json.dumps({**told, "runtimes": {**runtimes, "runsc": runsc}}))
        return self._extended

    def _configured(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.config.read_text()))
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError) as fault:
            mend = f"sudo mv {self.config} {self.config}.broken"
            raise Problem(f"{self.config} is not a JSON object ({fault})", mend=mend) from fault

    def _start(self, dockerd: Path, console: Console) -> None:
        console.step("engine", f"starting {dockerd} (log: {self.log})")
        for mount in cgroups.ensure():
            console.step("engine", f"mounted {mount.kind} at {mount.target}")
        self.clear()
        bound = self._data_if_not_mounted()
        with self.log.open("wb") as log:
            self.log.chmod(0o640)
            process = subprocess.Popen(
                self.command(dockerd, self.with_runsc()), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        fresh = self.record.with_suffix(".new")
        started = processes.started(process.pid)
        fresh.write_text(json.dumps({"pid": process.pid, "started": started, "bound": bound}))
        fresh.replace(self.record)
        self._await(process, console)

    def _await(self, process: "subprocess.Popen[bytes]", console: Console) -> None:
        deadline = time.monotonic() + _START_S
        while self._client().hear().answer is not Answer.READY:
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                process.kill()
                process.wait()
                self.record.unlink()
                last = self.log.read_text(errors="replace").splitlines()[-5:]
                said = "\n".join(f"    {line}" for line in last)
                raise Problem(f"dockerd {'ended' if ended else 'does not answer'}; the end of {self.log}:\n{said}")
            console.progress("waiting for the engine to answer")
            time.sleep(0.1)  # dockerd tells nobody when it is ready but those who ask
        process.returncode = 0  # it stays when we end: no warning that it still runs

    def clear(self) -> None:
        """Remove pid files whose process is another one by now, and containerd's socket when nobody listens at it.

        With these left by a dead engine, a fresh one refuses to start, or waits for ever.
        """
        for path, program in {"docker.pid": "dockerd", "docker/containerd/containerd.pid": "containerd"}.items():
            file = self.run / path
            if file.exists() and processes.name(_pid_in(file)) != program:
                file.unlink()
        address = self.run / "containerd" / "containerd.sock"
        if address.exists() and not _listens(address):
            address.unlink()

    def _data_if_not_mounted(self) -> str | None:
        data = self.options.get("data-root") or self._configured().get("data-root") or "/var/lib/docker"
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        return None if data in mounted else data

    def _client(self) -> EngineClient:
        return EngineClient(Endpoint("system", f"unix://{self.socket}"), timeout_s=2)


def _listens(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(address))
        except ConnectionRefusedError:
            return False
    return True


def _pid_in(file: Path) -> int:
    text = file.read_text().strip()
    return int(text) if text.isdigit() else 0
