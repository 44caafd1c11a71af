"""Keys at the door: how they come, how they are made, how they end (CONTRACT 1)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from multidict import CIMultiDict

from tests.integration.http_rig import ECHO, Start, problem


async def test_both_headers_carry_a_key_but_not_two_different_ones(start_daemon: Start) -> None:
    running = await start_daemon()
    key = running.admin.key
    assert (await running.keyless.get("/v1/me", headers={"Authorization": f"Bearer {key}"})).status == 200
    assert (
        await running.keyless.get("/v1/me", headers={"X-API-Key": key, "Authorization": f"Bearer {key}"})
    ).status == 200
    both = {"X-API-Key": key, "Authorization": "Bearer other"}
    problem(await running.keyless.get("/v1/me", headers=both), 401, "key_invalid")
    twice = [("X-API-Key", key or ""), ("X-API-Key", "other")]
    async with running.keyless.session.get(running.url + "/v1/me", headers=CIMultiDict(twice)) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (401, "key_invalid")
    problem(await running.keyless.get("/v1/me", headers={"Authorization": "Basic eDp5"}), 401, "key_invalid")
    problem(await running.keyless.get(f"/v1/me?key={key}&api_key={key}"), 401, "key_required")


async def test_forwarded_requests_are_never_loopback(start_daemon: Start) -> None:
    running = await start_daemon({"echo.py": ECHO})
    answer = await running.keyless.post("/query", json={"text": "echo"}, headers={"X-Forwarded-For": "127.0.0.1"})
    problem(answer, 401, "key_required")


async def test_with_require_key_a_query_needs_one(start_daemon: Start) -> None:
    running = await start_daemon({"echo.py": ECHO}, governance__require_key=True)
    problem(await running.keyless.post("/query", json={"text": "echo"}), 401, "key_required")
    assert (await running.admin.post("/query", json={"text": "echo"})).status == 200


async def test_after_ten_wrong_keys_only_wrong_keys_are_429(start_daemon: Start) -> None:
    running = await start_daemon()
    wrong = running.keyless.with_key("wrong")
    assert [(await wrong.get("/v1/me")).status for _ in range(10)] == [401] * 10
    answer = await wrong.get("/v1/me")
    problem(answer, 429, "rate_limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert (answer.headers["RateLimit-Limit"], answer.headers["RateLimit-Remaining"]) == ("10", "0")
    assert answer.headers["RateLimit-Reset"] == answer.headers["Retry-After"]
    assert (await running.admin.get("/v1/me")).status == 200


async def test_keys_are_shown_once_work_at_once_and_end_at_once(start_daemon: Start) -> None:
    running = await start_daemon()
    made = await running.admin.post("/v1/keys", json={"name": "ci", "scopes": ["query", "execute"]})
    assert made.status == 201
    holder = running.keyless.with_key(made.json["key"])
    me = (await holder.get("/v1/me")).json
    assert me["scopes"] == ["execute", "query"]
    assert me["kind"] == "person"
    assert [c["sphere"] for c in me["contexts"]] == ["personal"]
    listed = (await running.admin.get("/v1/keys")).json["items"]
    assert all("key" not in k and "hash" not in k for k in listed)
    assert (await running.admin.request("DELETE", f"/v1/keys/{made.json['id']}")).status == 200
    problem(await holder.get("/v1/me"), 401, "key_invalid")
    problem(await running.admin.request("DELETE", "/v1/keys/none"), 404, "not_found")


async def test_an_expired_key_is_a_wrong_one(start_daemon: Start) -> None:
    running = await start_daemon()
    soon = datetime.now(UTC) + timedelta(milliseconds=300)
    made = await running.admin.post(
        "/v1/keys", json={"name": "brief", "scopes": ["query"], "expires_at": soon.isoformat()}
    )
    holder = running.keyless.with_key(made.json["key"])
    async with asyncio.timeout(5):
        while (answer := await holder.get("/v1/me")).status == 200:
            await asyncio.sleep(0.02)
    problem(answer, 401, "key_invalid")


@pytest.mark.parametrize(
    "body",
    [{"name": "x", "scopes": []}, {"name": "x", "scopes": ["root"]}, {"name": "", "scopes": ["query"]}, {"scopes": ["query"]},
     {"name": "x", "scopes": ["query"], "identity_id": "nobody"}, {"name": "x", "scopes": ["query"], "expires_at": "tomorrow"},
     {"name": "x", "scopes": ["query"], "expires_at": "2030-01-01T00:00:00"},
     {"name": "x", "scopes": ["query"], "expires_at": "2020-01-01T00:00:00Z"}],
)  # fmt: skip
async def test_a_bad_key_request_is_422(start_daemon: Start, body: dict[str, Any]) -> None:
    running = await start_daemon()
    problem(await running.admin.post("/v1/keys", json=body), 422, "invalid")


async def test_no_key_is_kept_in_clear(start_daemon: Start, tmp_path: Any) -> None:
    running = await start_daemon()
    made = (
        await running.admin.post("/v1/keys", json={"name": "ci", "scopes": ["query"]}, headers={"Idempotency-Key": "a"})
    ).json
    for file in (tmp_path / "state").iterdir():
        if file.name != "admin.key" and file.is_file():
            assert made["key"].encode() not in file.read_bytes(), file.name
    assert (tmp_path / "state" / "admin.key").stat().st_mode & 0o777 == 0o600
