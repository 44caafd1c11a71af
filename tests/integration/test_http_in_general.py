"""The HTTP door: one order of refusal, one form of problem, whoever asks (CONTRACT 1)."""

import asyncio
import io
import json
import re
from typing import Any

import pytest

from tests.integration.http_rig import ECHO, Start, problem


async def test_refusals_come_in_the_fixed_order(start_daemon: Start) -> None:
    """Host, origin, size, media type, key, scope, body: each is looked at only when those before it are fine."""
    running = await start_daemon({"echo.py": ECHO}, api__max_body_bytes=2048)
    bad: dict[str, Any] = {
        "headers": {
            "Host": "evil.example",
            "Origin": "http://evil.example",
            "Content-Type": "text/plain",
            "X-API-Key": "wrong",
        },
        "data": b"x" * 3000,
    }
    execution = "/v1/sandbox/executions"
    problem(await running.keyless.post(execution, **bad), 421, "host_denied")
    del bad["headers"]["Host"]
    problem(await running.keyless.post(execution, **bad), 403, "origin_denied")
    del bad["headers"]["Origin"]
    problem(await running.keyless.post(execution, **bad), 413, "too_large")
    bad["data"] = b"not json"
    problem(await running.keyless.post(execution, **bad), 415, "media_type")
    bad["headers"]["Content-Type"] = "application/json"
    problem(await running.keyless.post(execution, **bad), 401, "key_invalid")
    del bad["headers"]["X-API-Key"]
    problem(await running.keyless.post(execution, **bad), 401, "key_required")
    asker = await running.client("query")
    problem(await asker.post(execution, **bad), 403, "scope_missing")
    runner = await running.client("execute")
    problem(await runner.post(execution, **bad), 400, "malformed")
    bad["data"] = b'{"code": 1, "colour": "red"}'
    found = problem(await runner.post(execution, **bad), 422, "invalid")
    assert {tuple(e["loc"]) for e in found["errors"]} == {("code",), ("colour",)}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not_found"), ("PUT", "/query", 405, "method"), ("OPTIONS", "/query", 405, "method"),
     ("POST", "/healthz", 405, "method"), ("GET", "/query/none", 404, "not_found"), ("GET", "/plugins/none", 404, "not_found")],
)  # fmt: skip
async def test_what_is_not_there_is_a_problem_document(
    start_daemon: Start, method: str, path: str, status: int, code: str
) -> None:
    running = await start_daemon()
    answer = await running.keyless.request(method, path)
    problem(answer, status, code)
    assert status != 405 or "Allow" in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"nul", 400), (b"[]", 422), (b'"text"', 422), (b'{"text": NaN}', 400), (b"\xff\xfe", 400),
        (b'{"text": "\\ud800"}', 400), (b'{"text": ""}', 422), (b'{"text": 1}', 422), (b'{"text": null}', 422),
        (b'{"text": "echo", "dry_run": "yes"}', 422), (b'{"text": "echo", "params": []}', 422), (b'{"text": "echo", "intent": ""}', 422),
        (b'{"text": "echo", "intent": "a b"}', 422), (b"[" * 100_000, 400), (b'{"text": "echo", "params": {"a": Infinity}}', 400),
        (b'{"text": "' + b"x" * 32_769 + b'"}', 422),
    ],
)  # fmt: skip
async def test_a_bad_body_is_named_and_never_a_5xx(start_daemon: Start, body: bytes, status: int) -> None:
    running = await start_daemon({"echo.py": ECHO})
    answer = await running.keyless.post("/query", data=body, headers={"Content-Type": "application/json"})
    problem(answer, status, "malformed" if status == 400 else "invalid")


@pytest.mark.parametrize(
    "body",
    [
        {"text": "echo", **{f"unknown{n}": 1 for n in range(100_000)}},
        {"code": "", "limits": {f"unknown{n}": 1 for n in range(100_000)}},
        {"code": "", "args": list(range(100_000))},
    ],
    ids=["members", "nested", "items"],
)
async def test_very_many_faults_are_told_in_a_few(start_daemon: Start, body: dict[str, Any]) -> None:
    running = await start_daemon({"echo.py": ECHO})
    path = "/query" if "text" in body else "/v1/sandbox/executions"
    headers = {"Content-Type": "application/json"}
    data = io.BytesIO(json.dumps(body).encode())
    found = problem(await running.admin.post(path, data=data, headers=headers), 422, "invalid")
    assert 1 <= len(found["errors"]) <= 50


@pytest.mark.parametrize("size", [3000, 300_000])
async def test_a_body_in_chunks_is_bounded_too(start_daemon: Start, size: int) -> None:
    running = await start_daemon({"echo.py": ECHO}, api__max_body_bytes=2048)

    async def chunks() -> Any:
        for _ in range(size // 1000):
            yield b"x" * 1000

    headers = {"Content-Type": "application/json"}
    problem(await running.keyless.post("/query", data=chunks(), headers=headers), 413, "too_large")


async def test_a_number_too_large_for_anything_is_refused(start_daemon: Start) -> None:
    running = await start_daemon({"echo.py": ECHO})
    body = b'{"text": "echo", "params": {"x": 1e999}}'
    problem(
        await running.keyless.post("/query", data=body, headers={"Content-Type": "application/json"}), 422, "invalid"
    )


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 421),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        (b"GET http://localhost/nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
         b"Content-Length: 3\r\n\r\nabc", 415),
        (b"GET /plugins/..%2f..%2fetc HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /v1/me HTTP/1.1\r\nHost: localhost\r\nX-API-Key: \xff\xfe\r\n\r\n", 401),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
    ],
)  # fmt: skip
async def test_shapes_that_are_hardly_http_get_a_problem_document(start_daemon: Start, raw: bytes, status: int) -> None:
    running = await start_daemon()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
    writer.write(raw)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.close()
    assert head.split(b" ", 2)[1] == b"%d" % status
    assert b"Content-Type: application/problem+json" in head
    assert b"Server: orchestrator\r\n" in head
    assert b"X-Content-Type-Options: nosniff" in head


async def test_what_cannot_be_read_is_counted_as_refused(start_daemon: Start) -> None:
    running = await start_daemon()
    _, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
    writer.write(b"GARBAGE\r\n\r\n")
    async with asyncio.timeout(5):
        while b'{code="malformed"} 1.0' not in (await running.keyless.get("/metrics")).body:
            await asyncio.sleep(0)
    writer.close()


async def test_a_post_without_a_body_needs_no_media_type(start_daemon: Start) -> None:
    running = await start_daemon()
    assert (await running.admin.post("/v1/audit/verify")).status == 200


async def test_lists_page_newest_first_and_refuse_what_is_no_page(start_daemon: Start) -> None:
    running = await start_daemon({"echo.py": ECHO})
    for n in range(7):
        await running.keyless.post("/query", json={"text": f"echo {n}"})
    seen: list[int] = []
    path = "/v1/audit?limit=3"
    while path:
        page = (await running.admin.get(path)).json
        seen += [row["seq"] for row in page["items"]]
        path = f"/v1/audit?limit=3&after={page['next']}" if page["next"] else ""
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 1
    for query in ("limit=0", "limit=1001", "limit=x", "limit=-1", "limit=١", "after=x", "colour=red"):
        problem(await running.admin.get(f"/v1/audit?{query}"), 422, "invalid")


@pytest.mark.parametrize(
    "path", ["/v1/audit", "/v1/keys", "/plugins", "/v1/sandbox/executions", "/v1/sandbox/sessions"]
)
async def test_what_is_no_cursor_is_refused_by_every_list(start_daemon: Start, path: str) -> None:
    running = await start_daemon()
    problem(await running.admin.get(f"{path}?after=garbage%20!"), 422, "invalid")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/healthz"), ("GET", "/openapi.json"), ("GET", "/v1/me"), ("GET", "/v1/events"), ("GET", "/plugins/echo"),
     ("POST", "/query"), ("POST", "/v1/audit/verify"), ("POST", "/plugins/echo/reload"), ("DELETE", "/v1/keys/x")],
)  # fmt: skip
async def test_a_parameter_that_an_endpoint_does_not_take_is_refused(
    start_daemon: Start, method: str, path: str
) -> None:
    running = await start_daemon({"echo.py": ECHO})
    found = problem(await running.admin.request(method, f"{path}?colour=red"), 422, "invalid")
    assert found["errors"] == [{"loc": ["query", "colour"], "msg": "no such parameter"}]


async def test_an_endpoint_without_a_body_takes_none_with_members(start_daemon: Start) -> None:
    running = await start_daemon({"echo.py": ECHO})
    for path in ("/v1/audit/verify", "/plugins/echo/reload"):
        problem(await running.admin.post(path, json={"colour": "red"}), 422, "invalid")
        assert (await running.admin.post(path, json={})).status == 200


async def test_all_faults_of_a_body_are_told_at_once(start_daemon: Start) -> None:
    running = await start_daemon()
    body = {"code": "1", "limits": {"wall_ms": -5, "foo": 1, "pids": "x"}}
    found = problem(await running.admin.post("/v1/sandbox/executions", json=body), 422, "invalid")
    assert {tuple(e["loc"]) for e in found["errors"]} == {("limits", n) for n in ("wall_ms", "foo", "pids")}


async def test_a_stream_of_events_starts_within_the_log_and_has_the_headers_of_any_answer(start_daemon: Start) -> None:
    running = await start_daemon()
    last = running.daemon.rooms.journal.last_seq
    beyond = await running.keyless.get("/v1/events", headers={"Last-Event-ID": str(last + 1)})
    assert problem(beyond, 422, "invalid")["errors"][0]["loc"] == ["header", "Last-Event-ID"]
    async with running.keyless.session.get(running.url + "/v1/events", headers={"Last-Event-ID": str(last)}) as stream:
        assert stream.status == 200
        assert stream.headers["Server"] == "orchestrator"
        assert stream.headers["X-Content-Type-Options"] == "nosniff"
        assert all(n in stream.headers for n in ("X-Request-Id", "Content-Security-Policy", "Referrer-Policy"))


async def test_openapi_lists_every_endpoint_and_validates(start_daemon: Start) -> None:
    """R2-23."""
    running = await start_daemon()
    document = (await running.keyless.get("/openapi.json")).json
    assert document["openapi"] == "3.1.0"
    assert {
        "/query",
        "/query/{id}",
        "/plugins",
        "/v1/audit",
        "/audit",
        "/healthz",
        "/health",
        "/v1/sandbox/executions",
    } <= set(document["paths"])
    refs = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert refs <= set(document["components"]["schemas"])
    events = document["paths"]["/v1/events"]["get"]
    assert {p["name"] for p in events["parameters"]} == {"topic", "Last-Event-ID"}
    assert {} in document["paths"]["/query"]["post"]["security"]
    assert {} not in document["paths"]["/v1/keys"]["post"]["security"]
    assert "scope_missing" in document["paths"]["/v1/keys"]["post"]["responses"]["default"]["x-codes"]
    page = (await running.keyless.get("/docs")).body.decode()
    assert "query | execute | command | approve | evolve | admin" in page
    assert "If absent: 10,000, or what the profile says." in page
    for path in ("/", "/docs", "/style.css"):
        page = await running.keyless.get(path)
        assert page.status == 200
        assert not re.search(rb"(src|href)=\"?(https?:)?//", page.body), "an asset from outside"


async def test_the_status_page_says_why_a_plugin_is_broken(start_daemon: Start) -> None:
    running = await start_daemon({"bad.py": "def handle(request:\n"})
    assert "line 1: " in (await running.keyless.get("/")).body.decode()


async def test_metrics_are_prometheus_text_for_loopback_only(start_daemon: Start) -> None:
    """R2-21."""
    running = await start_daemon({"echo.py": ECHO})
    await running.keyless.post("/query", json={"text": "echo"})
    text = (await running.keyless.get("/metrics")).body.decode()
    assert 'orchestrator_queries_total{plugin="echo",status="ok"} 1.0' in text
    problem(await running.keyless.get("/metrics", headers={"X-Forwarded-For": "1.2.3.4"}), 403, "peer_denied")


async def test_health_is_open_and_readiness_says_part_by_part(start_daemon: Start) -> None:
    running = await start_daemon()
    assert (await running.keyless.get("/health")).json == {"status": "ok"}
    ready = await running.keyless.get("/readyz")
    assert ready.status == 200
    assert ready.json["status"] == "degraded"
    assert set(ready.json["checks"]) == {"engine", "store", "bus", "pool"}
    assert "no Docker engine answers" in ready.json["checks"]["engine"]["detail"]
    running.daemon.rooms.draining = True
    assert (await running.keyless.get("/readyz")).status == 503
    problem(await running.keyless.post("/query", json={"text": "echo"}), 503, "draining")
