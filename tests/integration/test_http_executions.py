"""Executions over HTTP beyond one answer: cases, artifacts, cells, streams, waiting elsewhere, cancelling (CONTRACT 4)."""

import asyncio
import base64
import json

import aiohttp
import pytest

from orchestrator.testing.daemons import Client

pytestmark = pytest.mark.engine
PATH = "/v1/sandbox/executions"
FOREVER = "print('begun', flush=True)\nwhile True: pass"


async def run(client: Client, code: str, **fields):
    status, answer = await client.post(PATH, json={"code": code, **fields})
    assert status == 200, answer
    return answer


async def frames(answer: aiohttp.ClientResponse):
    """The frames of a stream, as (event, data)."""
    event = ""
    async for line in answer.content:
        word, _, rest = line.decode().rstrip("\n").partition(": ")
        if word == "event":
            event = rest
        elif word == "data":
            yield event, json.loads(rest)


def opened(client: Client, code: str, **fields):
    headers = {"X-API-Key": client.key}
    return client.session.post(f"{client.url}{PATH}?stream=sse", json={"code": code, **fields}, headers=headers)


async def ended(client: Client, location: str):
    """The execution at an address, when it has ended."""
    while (answer := (await client.get(location)).json)["status"] in ("queued", "running"):
        await asyncio.sleep(0.02)
    return answer


async def test_cases_run_one_program_and_are_compared_outside(admin):
    """CONTRACT 4 `cases`: each its own verdict; `passed` where an output was expected; the program never sees it."""
    code = "import os\nprint(int(input()) * 2)\nassert not os.listdir()\nopen('left', 'w')"
    cases = [
        {"stdin": "2", "expected_stdout": "4\n"},
        {"stdin": "3", "expected_stdout": "7\n"},
        {"stdin": "x"},
        {"stdin": "5"},
    ]
    answer = await run(admin, code, cases=cases)
    told = [(case["status"], case.get("passed"), case["stdout"]) for case in answer["cases"]]
    assert told == [("ok", True, "4\n"), ("ok", False, "6\n"), ("error", None, ""), ("ok", None, "10\n")]
    assert (answer["status"], answer["passed"]) == ("ok", False)
    assert answer["reason"].startswith(
        "Of 4 cases 3 ended well, 1 of 2 printed what was expected; the first other, number 2: "
    )
    stopped = await run(admin, code, cases=cases, stop_on="first_failure")
    assert [case["passed"] for case in stopped["cases"]] == [True, False]


async def test_each_case_has_its_own_deadline_and_one_that_hangs_costs_no_other(admin):
    cases = [{"stdin": "0"}, {"stdin": "1", "limits": {"wall_ms": 200}}, {"stdin": "0"}]
    answer = await run(admin, "while input() == '1': input = lambda: '1'\nprint('done')", cases=cases)
    assert [case["status"] for case in answer["cases"]] == ["ok", "timeout", "ok"]
    assert (answer["status"], answer["limits_hit"]) == ("timeout", ["wall_ms"])
    assert answer["usage"]["wall_ms"] < 2_000


async def test_artifacts_come_with_their_digest_and_what_is_left_out_is_told(admin):
    code = """
import os
os.makedirs('out/deep'); open('out/deep/a.txt', 'wb').write(b'\\x00\\xff'); open('out/b.txt', 'w').write('b')
open('other', 'w').write('not asked for'); os.symlink('/etc/passwd', 'out/link.txt'); os.mkfifo('out/pipe.txt')
"""
    answer = await run(admin, code, artifacts=["out/**/*.txt"], limits={"artifact_bytes": 1_000})
    assert sorted(answer["artifacts"]) == ["out/b.txt", "out/deep/a.txt"]
    found = answer["artifacts"]["out/deep/a.txt"]
    assert (found["bytes"], base64.b64decode(found["base64"])) == (2, b"\x00\xff")
    assert found["sha256"] == "06eb7d6a69ee19e5fbdf749018d3d2abfa04bcbd1365db312eb86dc7169389b8"
    assert {(s["path"], s["reason"]) for s in answer["artifacts_skipped"]} == {
        ("out/link.txt", "symlink"),
        ("out/pipe.txt", "not_a_file"),
    }
    stored = (await admin.get(f"{PATH}/{answer['id']}")).json
    assert (stored["artifacts"], stored["artifacts_skipped"]) == (answer["artifacts"], answer["artifacts_skipped"])


async def test_a_cell_is_reused_within_one_subject_and_wiped_in_between(admin):
    """CONTRACT 4 `cell`: the same container serves again, with nothing of what the last job left."""
    look = "import os\nprint(os.listdir('.'), os.listdir('/tmp'), os.listdir('/dev/shm'))\nopen('x','w'); open('/tmp/y','w'); open('/dev/shm/z','w')"
    first = await run(admin, look, isolation="cell", subject="ada")
    second = await run(admin, look, isolation="cell", subject="ada")
    assert (first["stdout"], second["stdout"]) == ("[] [] []\n", "[] [] []\n")
    assert (second["sandbox"]["isolation"], second["sandbox"]["warm"], second["usage"]["start_ms"] < 100) == (
        "cell",
        True,
        True,
    )


async def test_output_streams_as_it_comes_and_the_result_comes_last(admin):
    """CONTRACT 4 `?stream=sse`: pieces between characters, numbered; bytes that are no text as base64."""
    code = "import sys, time\nprint('a\\u20ac', flush=True); time.sleep(0.2); sys.stderr.buffer.write(b'\\xff'); sys.stderr.flush(); time.sleep(0.2); print('b')"
    async with opened(admin, code) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        found = [frame async for frame in frames(answer)]
    assert [event for event, _ in found] == ["stdout", "stderr", "stdout", "result"]
    assert [data["seq"] for _, data in found[:-1]] == [1, 2, 3]
    assert [(data["data"], data["encoding"]) for _, data in found[:-1]] == [
        ("a\u20ac\n", "utf-8"),
        ("/w==", "base64"),
        ("b\n", "utf-8"),
    ]
    assert (found[-1][1]["status"], base64.b64decode(found[-1][1]["stdout"])) == ("ok", "a\u20ac\nb\n".encode())


async def test_a_stream_that_cannot_begin_is_refused_as_any_request(admin):
    async with opened(admin, "", limits={"pids": 10**6}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (422, "limit_above_profile")
    async with admin.session.post(
        f"{admin.url}{PATH}?stream=xml", json={"code": ""}, headers={"X-API-Key": admin.key}
    ) as answer:
        assert (answer.status, (await answer.json())["errors"][0]["loc"]) == (422, ["query", "stream"])


async def test_a_client_that_leaves_a_stream_takes_its_program_down(admin):
    async with opened(admin, FOREVER, subject="leaver") as answer:
        assert (await anext(frames(answer)))[0] == "stdout"
    listed = (await admin.get(f"{PATH}?subject=leaver")).json["items"][0]
    assert (await ended(admin, f"{PATH}/{listed['id']}"))["status"] == "cancelled"


async def test_a_client_that_leaves_before_the_answer_takes_its_program_down(admin):
    """ABUSE "Requests": a client that leaves."""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(admin.post(PATH, json={"code": FOREVER, "subject": "impatient"}))
        while not (listed := (await admin.get(f"{PATH}?subject=impatient")).json["items"]):
            await asyncio.sleep(0.02)
        waiting.cancel()
    assert (await ended(admin, f"{PATH}/{listed[0]['id']}"))["status"] == "cancelled"


async def test_an_execution_can_be_waited_for_elsewhere(admin):
    """CONTRACT 4 `Prefer: respond-async`: 202 with `Location`; GET says how far it is."""
    answer = await admin.post(PATH, json={"code": "print(6 * 7)"}, headers={"Prefer": "respond-async"})
    assert (answer.status, answer.headers["Location"]) == (202, f"{PATH}/{answer.json['id']}")
    assert answer.json["status"] in ("queued", "running")
    done = await ended(admin, answer.headers["Location"])
    assert (done["status"], done["stdout"]) == ("ok", "42\n")


async def test_cancelling_ends_it_and_answers_how_it_ended(admin, client):
    """CONTRACT 4 DELETE: twice is once, an ended one stays, another's is not there."""
    answer = await admin.post(PATH, json={"code": FOREVER}, headers={"Prefer": "respond-async"})
    location = answer.headers["Location"]
    other = await admin.post("/v1/keys", json={"name": "mine", "scopes": ["execute"]})
    assert other.status in (200, 201)
    cancelled = await admin.request("DELETE", location)
    assert (cancelled.status, cancelled.json["status"], cancelled.json["exit_code"]) == (200, "cancelled", None)
    assert (await admin.request("DELETE", location)).json["status"] == "cancelled"
    done = await run(admin, "print(1)")
    assert (await admin.request("DELETE", f"{PATH}/{done['id']}")).json["status"] == "ok"
    assert (await admin.request("DELETE", f"{PATH}/none")).status == 404
    assert (await client.request("DELETE", location)).status == 401


async def test_the_posture_of_the_sandbox_is_in_the_audit(admin):
    """DESIGN 4: what a job can reach was tried, and what was seen is on record."""
    rows = (await admin.get("/v1/audit?limit=200")).json["items"]
    while rows and not any(row["action"] == "sandbox.posture" for row in rows):
        rows = (await admin.get(f"/v1/audit?limit=200&cursor={rows[-1]['seq']}")).json["items"]
    (row,) = [row for row in rows if row["action"] == "sandbox.posture"]
    assert (row["outcome"], row["actor"]) == ("ok", "daemon")
    assert set(row["data"]["walls"].values()) == {"holds"}


async def test_code_of_a_key_that_demands_a_kernel_of_its_own_does_not_run_on_the_hosts(admin):
    """A key may demand a separate kernel, and then fails closed."""
    body = {"name": "strangers", "scopes": ["execute"], "kernel": "separate"}
    made = await admin.post("/v1/keys", json=body)
    assert (made.status, made.json["kernel"]) == (201, "separate")
    stranger = admin.with_key(made.json["key"])
    for path, asked in ((PATH, {"code": "print(1)"}), ("/v1/sandbox/sessions", {})):
        refused = await stranger.post(path, json=asked)
        assert (refused.status, refused.json["code"]) == (503, "sandbox_unavailable")
        assert 'sandbox.runtime = "runsc"' in refused.json["detail"]
