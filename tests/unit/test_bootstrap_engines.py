"""Which engine is used, and what is told where one is silent (CONTRACT 0)."""

import hashlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from orchestrator.bootstrap.client import Answer, EngineClient
from orchestrator.bootstrap.console import Problem
from orchestrator.bootstrap.contexts import Endpoint, endpoints
from orchestrator.bootstrap.engines import Denied, Found, Missing, Startable, look
from orchestrator.bootstrap.machine import Machine


class Site:
    """A folder that stands for a machine's root, short enough for the path of a socket."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"PATH": "/usr/bin", "HOME": str(root / "home")}
        (root / "proc").mkdir()
        (root / "var" / "run").mkdir(parents=True)

    def machine(self, **environ: str) -> Machine:
        return Machine(environ={**self.environ, **environ}, root=self.root)

    def file(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def process(self, pid: int, *argv: str) -> None:
        self.file(f"proc/{pid}/comm", f"{argv[0]}\n")
        self.file(f"proc/{pid}/cmdline", "".join(f"{word}\0" for word in argv))


@pytest.fixture
def site() -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(dir="/tmp", prefix="s"))
    yield Site(root)
    shutil.rmtree(root)


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


@contextmanager
def answering(path: Path, body: bytes, status: int = 200) -> Iterator[None]:
    """Somebody who answers HTTP at a Unix socket."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

        def address_string(self) -> str:
            return "unix"

    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_an_engine_that_answers_at_the_system_socket_is_used(site: Site) -> None:
    with answering(site.root / "var/run/docker.sock", b'{"Version": "20.10"}'):
        sight = look(site.machine())
    assert isinstance(sight, Found)
    assert (sight.endpoint.origin, sight.version) == ("system", "20.10")
    assert sight.endpoint.environment() == {"DOCKER_HOST": f"unix://{site.root}/var/run/docker.sock"}


def test_rootless_comes_before_system_and_a_stale_one_is_passed_over(site: Site) -> None:
    runtime = site.root / "run"
    runtime.mkdir()
    with answering(site.root / "var/run/docker.sock", b'{"Version": "1"}'):
        with answering(runtime / "docker.sock", b'{"Version": "2"}'):
            assert look(Machine(site.environ | {"XDG_RUNTIME_DIR": "/run"}, site.root)).version == "2"
        assert look(Machine(site.environ | {"XDG_RUNTIME_DIR": "/run"}, site.root)).version == "1"


def test_docker_host_comes_first_and_counts_alone(site: Site) -> None:
    """An engine that a person named is never replaced by another that happens to answer."""
    with answering(site.root / "var/run/docker.sock", b'{"Version": "1"}'), pytest.raises(Problem) as told:
        look(site.machine(DOCKER_HOST="unix:///nowhere/docker.sock"))
    assert told.value.code == 3
    assert told.value.mend == "unset DOCKER_HOST"
    assert "unix:///nowhere/docker.sock" in told.value.what


@pytest.mark.parametrize("host", ["ssh://far", "nonsense", "unix://", "tcp://127.0.0.1:1", "tcp://[", "npipe:////./x"])
def test_a_docker_host_that_cannot_be_talked_to_is_a_problem_and_never_a_traceback(site: Site, host: str) -> None:
    with pytest.raises(Problem, match="does not answer"):
        look(site.machine(DOCKER_HOST=host))


def _context(site: Site, name: str, meta: object) -> None:
    key = hashlib.sha256(name.encode()).hexdigest()
    site.file("home/.docker/config.json", json.dumps({"currentContext": name}))
    site.file(f"home/.docker/contexts/meta/{key}/meta.json", json.dumps(meta))
    site.file(f"home/.docker/contexts/tls/{key}/docker/ca.pem")


def test_the_docker_context_comes_second_with_its_certificates(site: Site) -> None:
    _context(site, "far", {"Endpoints": {"docker": {"Host": "tcp://far:2376"}}})
    (endpoint,) = endpoints(site.machine())
    assert (endpoint.origin, endpoint.host) == ("context far", "tcp://far:2376")
    assert endpoint.environment()["DOCKER_TLS_VERIFY"] == "1"
    assert [e.origin for e in endpoints(site.machine(DOCKER_CONTEXT="default"))] == ["system"]
    assert [e.origin for e in endpoints(site.machine(DOCKER_HOST="tcp://x"))] == ["DOCKER_HOST"]


@pytest.mark.parametrize("meta", [{}, {"Endpoints": {}}, {"Endpoints": []}, []])
def test_a_context_without_an_engine_is_a_problem(site: Site, meta: object) -> None:
    _context(site, "broken", meta)
    with pytest.raises(Problem, match="broken"):
        endpoints(site.machine())


def test_a_broken_docker_configuration_is_named(site: Site) -> None:
    site.file("home/.docker/config.json", "{")
    with pytest.raises(Problem, match=r"config\.json"):
        endpoints(site.machine())


@contextmanager
def without_root() -> Iterator[None]:
    """Root may open everything; so the effective user is another one meanwhile."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_socket_that_may_not_be_opened_is_told_with_the_group_and_what_that_means(site: Site) -> None:
    site.root.chmod(0o755)
    with answering(site.root / "var/run/docker.sock", b"{}"):
        (site.root / "var/run/docker.sock").chmod(0)
        with without_root(), pytest.raises(Denied, match="equals root") as told:
            look(site.machine())
    assert told.value.code == 3
    assert told.value.mend is not None
    assert told.value.mend.startswith("sudo usermod -aG docker ")


@pytest.mark.parametrize("body", [b"", b"[]", b'"hello"', b'{"other": 1}', b"\xff\xfe", b"null"])
def test_something_else_at_the_socket_is_not_taken_for_an_engine(site: Site, body: bytes) -> None:
    with answering(site.root / "var/run/docker.sock", body), pytest.raises(Problem, match="not answer as an engine"):
        look(site.machine())


def test_a_hung_engine_is_told_after_its_deadline(site: Site) -> None:
    path = site.root / "hung.sock"
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen()
        heard = EngineClient(Endpoint("system", f"unix://{path}"), timeout_s=0.05).hear()
    assert heard.answer is Answer.SILENT


def test_nothing_installed_is_missing_and_a_client_alone_is_no_engine(site: Site) -> None:
    assert isinstance(look(site.machine()), Missing)
    site.file("usr/bin/docker", mode=0o755)
    site.file("run/systemd/system/x")
    assert isinstance(look(site.machine()), Missing)


def test_a_stale_socket_file_is_no_engine(site: Site) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(site.root / "var/run/docker.sock"))
    assert isinstance(look(site.machine()), Missing)


def test_a_dockerd_on_a_host_without_a_service_manager_is_startable_though_not_on_the_path(site: Site) -> None:
    dockerd = site.file("usr/sbin/dockerd", mode=0o755)
    site.file("lib/systemd/system/docker.service")  # the package brings the unit; nobody obeys it
    assert look(site.machine()) == Startable(dockerd)


@pytest.mark.parametrize(
    ("installed", "mend"),
    [
        ("lib/systemd/system/docker.service", "sudo systemctl start docker"),
        ("etc/systemd/system/docker.service", "sudo systemctl start docker"),
        ("snap/bin/dockerd", "sudo snap start docker"),
        ("home/.config/systemd/user/docker.service", "systemctl --user start docker"),
    ],
)
def test_an_installed_engine_that_is_stopped_is_never_installed_over(site: Site, installed: str, mend: str) -> None:
    site.file("run/systemd/system/x")
    site.file(installed, mode=0o755)
    with pytest.raises(Problem, match="installed") as told:
        look(site.machine())
    assert (told.value.code, told.value.mend) == (3, mend)


@pytest.mark.parametrize(
    ("argv", "mend"),
    [
        (("dockerd", "-H", "fd://", "-H", "unix:///other.sock"), "export DOCKER_HOST=unix:///other.sock"),
        (("dockerd", "--host=tcp://127.0.0.1:2375"), "export DOCKER_HOST=tcp://127.0.0.1:2375"),
        (("dockerd", "--host", "unix:///a b"), "export DOCKER_HOST='unix:///a b'"),
        (("dockerd",), "sudo kill 77"),
    ],
)
def test_an_engine_at_another_socket_is_found_by_its_process(site: Site, argv: tuple[str, ...], mend: str) -> None:
    site.file("usr/sbin/dockerd", mode=0o755)
    site.process(77, *argv)
    with pytest.raises(Problem, match="process 77") as told:
        look(site.machine())
    assert told.value.mend == mend
