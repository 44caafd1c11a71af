"""Server-sent events as a client reads them."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.cli.client import Target, asking, refused


def post(at: Target, path: str, body: Any) -> Iterator[tuple[str, Any]]:
    """Send a body and answer events as they come, each with its JSON. Raises `CliFault` as `client.call` does.

    Whoever stops listening closes the connection, which the daemon takes as his leaving.
    """
    with asking(at, "POST", path, body) as response:
        if response.status != 200:
            raise refused(response.status, json.loads(response.read()))
        yield from events(response)


def events(lines: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """Events and their JSON, from the lines of a stream. Raises `ValueError` where data is no JSON."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(":")
        if name:  # else it is a comment, or an empty line, which ends an event
            fields[name] = value.removeprefix(" ")
        elif line == b"\n":
            if "data" in fields:
                yield fields.get("event", "message"), json.loads(fields["data"])
            fields = {}
