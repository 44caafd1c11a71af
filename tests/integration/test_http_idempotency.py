"""An answer that is asked for again is the same one (CONTRACT 1, Idempotency-Key)."""

import asyncio

from tests.integration.http_rig import ECHO, Start, problem


class TestIdempotency:
    async def test_the_same_request_does_its_work_once(self, start_daemon: Start) -> None:
        running = await start_daemon({"echo.py": ECHO})
        headers = {"Idempotency-Key": "one"}
        first = await running.keyless.post("/query", json={"text": "echo"}, headers=headers)
        again = await running.keyless.post("/query", json={"text": "echo"}, headers=headers)
        assert again.body == first.body
        assert again.headers["Idempotency-Replayed"] == "true"
        assert "Idempotency-Replayed" not in first.headers
        assert (await running.admin.get("/plugins/echo")).json["calls"] == 1

    async def test_another_body_is_a_mismatch(self, start_daemon: Start) -> None:
        running = await start_daemon({"echo.py": ECHO})
        headers = {"Idempotency-Key": "one"}
        await running.keyless.post("/query", json={"text": "echo"}, headers=headers)
        answer = await running.keyless.post("/query", json={"text": "echo echo"}, headers=headers)
        problem(answer, 422, "idempotency_mismatch")

    async def test_while_the_first_runs_the_second_is_in_flight(self, start_daemon: Start) -> None:
        source = (
            "import asyncio\nGO = asyncio.Event()\nPLUGIN = {'keywords': ['slow', 'go']}\n"
            "async def handle(request):\n    if request.text == 'go':\n        GO.set()\n    else:\n        await GO.wait()\n    return 1\n"
        )
        running = await start_daemon({"slow.py": source})
        headers = {"Idempotency-Key": "one"}
        async with asyncio.TaskGroup() as group:
            first = group.create_task(running.keyless.post("/query", json={"text": "slow"}, headers=headers))
            while (await running.admin.get("/plugins/slow")).json["calls"] == 0:
                if (
                    answer := await running.keyless.post("/query", json={"text": "slow"}, headers=headers)
                ).status == 409:
                    break
            problem(answer, 409, "idempotency_in_flight")
            await running.keyless.post("/query", json={"text": "go"})
        assert first.result().status == 200

    async def test_refusals_are_not_kept(self, start_daemon: Start) -> None:
        running = await start_daemon({"echo.py": ECHO})
        headers = {"Idempotency-Key": "one"}
        first = await running.keyless.post("/query", json={"text": "blorb"}, headers=headers)
        again = await running.keyless.post("/query", json={"text": "blorb"}, headers=headers)
        problem(again, 422, "no_route")
        assert first.json["id"] != again.json["id"]

    async def test_keys_have_spaces_of_their_own_and_a_replayed_key_is_without_its_secret(
        self, start_daemon: Start
    ) -> None:
        running = await start_daemon()
        headers = {"Idempotency-Key": "one"}
        body = {"name": "x", "scopes": ["admin"]}
        first = await running.admin.post("/v1/keys", json=body, headers=headers)
        other = running.keyless.with_key(first.json["key"])
        second = await other.post("/v1/keys", json=body, headers=headers)
        assert second.json["id"] != first.json["id"]
        again = await running.admin.post("/v1/keys", json=body, headers=headers)
        assert again.status == 201
        assert "key" not in again.json
        assert again.body == first.body.replace(f',"key":"{first.json["key"]}"'.encode(), b"")

    async def test_a_bad_header_is_refused(self, start_daemon: Start) -> None:
        running = await start_daemon({"echo.py": ECHO})
        for value in ("x" * 256, "a\tb"):
            answer = await running.keyless.post("/query", json={"text": "echo"}, headers={"Idempotency-Key": value})
            problem(answer, 422, "invalid")
