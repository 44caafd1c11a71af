"""Grants and what waits for a person, on PostgreSQL through the whole daemon (CONTRACT 5, X-21)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.testing.daemons import Running
from tests.integration.authority_rig import opened, operator_of
from tests.own_postgres import Server


@pytest.fixture
async def daemon(tmp_path: Path, postgres_server: Server) -> AsyncIterator[Running]:
    async with postgres_server.database() as name:
        settings = {"governance__ungranted_plugins": ["loud"], "storage__url": postgres_server.url(name)}
        async with opened(tmp_path, **settings) as found:
            yield found


async def test_queries_take_just_the_uses_that_there_are_and_the_rest_wait(daemon: Running) -> None:
    loud = {"name": "loud", "version": "1.2.0"}
    body = {"capabilities": [loud], "uses_left": 10, "expires_at": "2099-01-01T00:00:00Z"}
    made = await daemon.admin.post("/v1/grants", json=body)
    assert made.status == 201, made.body
    answers = await asyncio.gather(*(daemon.admin.post("/query", json={"text": "shout x"}) for _ in range(64)))
    assert sorted(answer.status for answer in answers) == [200] * 10 + [202] * 54
    waits, operator = next(answer for answer in answers if answer.status == 202), await operator_of(daemon)
    command = f"/v1/commands/{waits.json['command_id']}"
    await operator.ask("POST", f"{command}/approve", {"approved": True})
    async with asyncio.timeout(10):
        while (found := await daemon.admin.get(waits.headers["Location"])).status == 202:
            await asyncio.sleep(0.01)
    assert found.json["response"]["said"] == "SHOUT X"
    assert (await daemon.admin.post("/v1/audit/verify")).json["ok"]


@pytest.mark.parametrize("path", ["keys", "grants", "identities", "contexts"])
async def test_what_no_database_keeps_is_refused_and_the_refusal_is_written_down(daemon: Running, path: str) -> None:
    method = "DELETE" if path in ("keys", "grants") else "PATCH"
    options = {} if method == "DELETE" else {"json": {"active": True}}
    answer = await daemon.admin.request(method, f"/v1/{path}/%00", **options)
    assert answer.status in (404, 422)
    row = (await daemon.admin.get("/v1/audit?limit=1")).json["items"][0]
    assert (row["action"], row["subject"]) == ("request.refused", f"/v1/{path}/\ufffd")
