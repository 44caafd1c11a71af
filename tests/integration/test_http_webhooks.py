"""Webhooks against a receiver with all its faults (CONTRACT 5): signed, in order, retried, given up, in nobody's way."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.testing.daemons import NO_ENGINE, Running, running
from tests.integration.http_rig import problem
from tests.integration.test_http_commands import ECHO
from tests.integration.test_http_incidents import forge, person_of

SECRET = "a secret of sixteen or more"
SETTINGS = {
    "bundled": False, "sandbox__docker_host": NO_ENGINE, "governance__webhook_retry_s": 0.02,
    "governance__webhook_attempts": 3, "governance__webhook_rest_s": 0.05, "governance__webhook_timeout_s": 0.2,
}  # fmt: skip
OK = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


class Receiver:
    """Takes deliveries; how it answers the next ones is in `answers`, after which all is well."""

    def __init__(self) -> None:
        self.answers: list[bytes | None] = []
        self.taken: list[tuple[dict[str, str], dict[str, object]]] = []
        self.raw: list[bytes] = []
        self.tries = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")[1:-2]
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.tries += 1
            answer = self.answers.pop(0) if self.answers else OK
            if answer == OK:
                self.taken.append((headers, json.loads(body)))
                self.raw.append(body)
            if answer is None:
                await reader.read()  # never answers, until the other side gives up
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    @property
    def topics(self) -> list[object]:
        return [body["topic"] for _, body in self.taken]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?x=1"
    async with server:
        yield receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "echo.py").write_text(ECHO)
    async with running(tmp_path / "state", [tmp_path / "plugins"], **SETTINGS) as opened:
        yield opened


async def hook(daemon: Running, url: str, *topics: str) -> str:
    made = await daemon.admin.post("/v1/webhooks", json={"url": url, "topics": topics, "secret": SECRET})
    assert made.status == 201, made.body
    return str(made.json["id"])


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not happened():
            await asyncio.sleep(0.005)


async def listed(daemon: Running) -> dict[str, object]:
    (one,) = (await daemon.admin.get("/v1/webhooks")).json["items"]
    return dict(one)


async def query(daemon: Running, text: str = "x") -> None:
    assert (await daemon.admin.post("/query", json={"text": text, "plugin": "echo"})).status == 200


async def test_an_incident_is_told_signed_and_with_an_address(daemon: Running, receiver: Receiver) -> None:
    """R4-33: whoever knows the secret can tell that it is ours, when it was sent, and that nobody changed it."""
    await hook(daemon, receiver.url, "incident.opened")
    await forge(daemon)
    await until(lambda: len(receiver.taken) == 1)
    headers, body = receiver.taken[0]
    (incident,) = (await daemon.admin.get("/v1/incidents")).json["items"]
    assert (body["topic"], body["address"]) == ("incident.opened", f"/v1/incidents/{incident['id']}")
    assert (await daemon.admin.get(str(body["address"]))).json == incident
    fields = dict(part.split("=") for part in headers["x-orchestrator-signature"].split(","))
    told = hmac.new(SECRET.encode(), f"{fields['t']}.".encode() + receiver.raw[0], hashlib.sha256).hexdigest()
    assert (fields["v1"], headers["x-orchestrator-delivery"]) == (told, body["id"])
    assert "data" not in body
    assert SECRET not in str(headers) + str(body)


async def test_a_person_is_told_that_a_command_awaits_him_and_gets_no_link_that_approves(daemon, receiver) -> None:
    await hook(daemon, receiver.url, "command.awaiting_approval")
    person = await person_of(daemon)
    path = await person.make()
    await person.ask("POST", f"{path}/plan")
    await until(lambda: bool(receiver.taken))
    assert receiver.taken[0][1]["address"] == path
    assert "approve" not in receiver.raw[0].decode().replace("awaiting_approval", "")


async def test_the_secret_is_never_shown_again(daemon: Running, receiver: Receiver) -> None:
    body = {"url": receiver.url, "topics": ["incident.opened"], "secret": SECRET}
    made = await daemon.admin.post("/v1/webhooks", json=body, headers={"Idempotency-Key": "k"})
    replayed = await daemon.admin.post("/v1/webhooks", json=body, headers={"Idempotency-Key": "k"})
    gone = await daemon.admin.request("DELETE", f"/v1/webhooks/{made.json['id']}")
    audit = await daemon.admin.get("/v1/audit")
    for answer in (made, replayed, await daemon.admin.get("/v1/webhooks"), gone, audit):
        assert answer.status in (200, 201)
        assert SECRET not in answer.body.decode()
    assert replayed.json == made.json
    problem(await daemon.admin.request("DELETE", f"/v1/webhooks/{made.json['id']}"), 404, "not_found")


async def test_what_fails_is_tried_again_in_order_until_it_is_taken(daemon: Running, receiver: Receiver) -> None:
    """500, cut, a redirect and garbage are failures alike; the id is the same in each try."""
    elsewhere = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    receiver.answers = [b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", b"", OK, elsewhere, b"garbage\r\n\r\n", OK]
    await hook(daemon, receiver.url, "query.completed")
    await query(daemon, "one")
    await query(daemon, "two")
    await until(lambda: len(receiver.taken) == 2)
    seqs = [body["seq"] for _, body in receiver.taken]
    assert (seqs == sorted(seqs), receiver.tries) == (True, 6)
    async with asyncio.timeout(10):
        while (told := await listed(daemon))["delivered"] != 2:
            await asyncio.sleep(0.005)
    assert (told["state"], told["dead"], told["fault"], told["delivered"]) == ("ok", 0, None, 2)


async def test_after_a_bound_an_event_is_given_up_and_the_next_one_is_told(daemon: Running, receiver: Receiver) -> None:
    receiver.answers = [b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n"] * 3
    webhook = await hook(daemon, receiver.url, "query.completed")
    await query(daemon, "lost")
    async with asyncio.timeout(10):
        while not (told := await listed(daemon))["dead"]:
            await asyncio.sleep(0.005)
    assert (told["fault"], receiver.tries) == ("it answered 503", 3)
    await query(daemon, "next")
    await until(lambda: len(receiver.taken) == 1)
    rows = (await daemon.admin.get(f"/v1/audit?subject={webhook}")).json["items"]
    assert [row["action"] for row in rows] == ["webhook.given_up", "webhook.created"]


async def test_one_that_never_answers_delays_nobody(daemon: Running, receiver: Receiver) -> None:
    """3.2 "event subscriber fails/slow": neither the other receivers nor who asks."""
    async with receiving() as silent:
        silent.answers = [None] * 100
        for url in (silent.url, "http://127.0.0.1:1/nobody", receiver.url):
            await hook(daemon, url, "query.completed")
        for _ in range(5):
            await query(daemon)
        await until(lambda: len(receiver.taken) == 5)
        assert silent.tries <= 1 + 5 * 3
        assert silent.taken == []


async def test_what_was_not_told_is_told_by_the_next_daemon(tmp_path: Path, receiver: Receiver) -> None:
    """The outbox is the log: a restart loses nothing, and starts no webhook from the beginning."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "echo.py").write_text(ECHO)
    patient = {**SETTINGS, "governance__webhook_retry_s": 0.3, "governance__webhook_attempts": 50}
    async with running(tmp_path / "state", [tmp_path / "plugins"], **patient) as first:
        await query(first, "before there was a webhook")
        receiver.answers = [b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"]
        await hook(first, receiver.url, "query.completed")
        await query(first, "one")
        await until(lambda: receiver.tries == 1)
        await query(first, "two")
    async with running(tmp_path / "state", [tmp_path / "plugins"], **patient) as second:
        await until(lambda: len(receiver.taken) == 2)
        await query(second, "three")
        await until(lambda: len(receiver.taken) == 3)
    assert receiver.topics == ["query.completed"] * 3


async def test_one_that_was_deleted_hears_nothing_more(daemon: Running, receiver: Receiver) -> None:
    webhook = await hook(daemon, receiver.url, ">")
    await query(daemon)
    await until(lambda: "query.completed" in receiver.topics)
    await daemon.admin.request("DELETE", f"/v1/webhooks/{webhook}")
    before = receiver.tries
    await query(daemon)
    await daemon.daemon.rooms.store.write(lambda tx: None)
    assert receiver.tries == before
    assert not any(str(topic).startswith("webhook.") for topic in receiver.topics)


async def test_what_is_no_webhook_is_refused(daemon: Running) -> None:
    good = {"url": "https://example.org/hook", "topics": ["incident.opened"], "secret": SECRET}
    for wrong in (
        {"url": "ftp://example.org/"}, {"url": "file:///etc/passwd"}, {"url": "javascript:alert(1)"}, {"url": "//x"},
        {"url": "http://user:pass@example.org/"}, {"url": "http://example.org/#a"}, {"url": "http://"}, {"url": 1},
        {"url": "http://example.org:99999/"}, {"url": "http://example.org/" + "a" * 2000}, {"url": "http://a b/"},
        {"topics": []}, {"topics": ["a b"]}, {"topics": [">.a"]}, {"topics": [1]}, {"topics": ["a"] * 51},
        {"secret": "short"}, {"secret": "s" * 201}, {"secret": None}, {"more": 1},
    ):  # fmt: skip
        answer = problem(await daemon.admin.post("/v1/webhooks", json={**good, **wrong}), 422, "invalid")
        assert SECRET not in str(answer)
    assert (await daemon.admin.get("/v1/webhooks")).json["items"] == []
    for client in (await daemon.client("query", "approve"), daemon.keyless):
        assert (await client.post("/v1/webhooks", json=good)).status in (401, 403)
