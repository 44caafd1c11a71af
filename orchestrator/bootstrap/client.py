"""Just enough of the engine's HTTP API for a machine on which no Docker library is installed yet."""

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from orchestrator.bootstrap.contexts import Endpoint

PING_S = 5.0


class Answer(Enum):
    """What an address said."""

    READY = "ready"
    ABSENT = "absent"  # no socket, or nobody listens at it
    DENIED = "denied"  # a socket that this user may not open
    SILENT = "silent"  # somebody listens and does not speak Docker, or not in time


@dataclass(frozen=True)
class Heard:
    """An answer and its detail: the engine's version, or the fault in words."""

    answer: Answer
    detail: str


class EngineClient:
    """One connection for each request; every one has a deadline."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float = PING_S) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s

    def hear(self) -> Heard:
        """Ask for the version, and say what came back. Never raises."""
        try:
            version = self.get("/version")["Version"]
        except PermissionError as fault:
            return Heard(Answer.DENIED, str(fault))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as fault:
            return Heard(Answer.ABSENT, str(fault))
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as fault:
            return Heard(Answer.SILENT, str(fault) or type(fault).__name__)
        return Heard(Answer.READY, str(version))

    def get(self, path: str) -> Any:
        """The JSON value at `path`. Raises `OSError`, `HTTPException` or `ValueError`."""
        return json.loads(self._request("GET", path))

    def delete(self, path: str) -> None:
        """Remove a thing; one that is not there is removed already."""
        self._request("DELETE", path, also=(404,))

    def _request(self, method: str, path: str, also: tuple[int, ...] = ()) -> bytes:
        connection = self._connection()
        try:
            connection.request(method, path, headers={"Host": "docker"})
            answer = connection.getresponse()
            body = answer.read(16 << 20)
        finally:
            connection.close()
        if answer.status >= 300 and answer.status not in also:
            raise OSError(f"the engine answered {answer.status}: {body[:200].decode(errors='replace')}")
        return body

    def _connection(self) -> http.client.HTTPConnection:
        if (path := self._endpoint.socket) is not None:
            return _UnixConnection(str(path), self._timeout_s)
        url = urlsplit(self._endpoint.host)
        if url.scheme not in {"tcp", "http", "https"}:
            raise ValueError(f"{url.scheme}:// is not supported, only unix:// and tcp://")
        host, port = url.hostname or "localhost", url.port
        if tls := self._endpoint.tls:
            context = ssl.create_default_context(cafile=tls / "ca.pem")
            context.load_cert_chain(tls / "cert.pem", tls / "key.pem")
            return http.client.HTTPSConnection(host, port or 2376, timeout=self._timeout_s, context=context)
        return http.client.HTTPConnection(host, port or 2375, timeout=self._timeout_s)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
