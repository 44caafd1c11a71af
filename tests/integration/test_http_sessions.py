"""Sessions over HTTP: variables and files stay, one piece at a time, wiped at the end (CONTRACT 4, M2)."""

import asyncio

import pytest

from orchestrator.testing.daemons import Client

pytestmark = pytest.mark.engine
PATH = "/v1/sandbox/sessions"


@pytest.fixture
async def place(admin):
    made = await admin.post(PATH, json={})
    assert made.status == 201, made.json
    yield made.headers["Location"]
    await admin.request("DELETE", made.headers["Location"])


async def run(client: Client, place: str, code: str, **fields):
    status, answer = await client.post(f"{place}/executions", json={"code": code, **fields})
    assert status == 200, answer
    return answer


async def test_variables_files_and_functions_stay(admin, place):
    """CONTRACT 4: executions there keep variables and files, and answer the last expression's value as text."""
    assert (await run(admin, place, "import json\nx = 20\ndef double(n): return 2 * n")).get("value") is None
    answer = await run(admin, place, "open('a.txt', 'w').write('kept')\nx += 1\ndouble(x)")
    assert (answer["status"], answer["exit_code"], answer["value"], answer["stdout"]) == ("ok", 0, "42", "")
    assert (await run(admin, place, "print(json.dumps([x]), open('a.txt').read())"))["stdout"] == "[21] kept\n"
    told = (await admin.get(place)).json
    assert (told["status"], told["executions"]) == ("idle", 3)
    assert (await admin.get(f"/v1/sandbox/executions/{answer['id']}")).json["value"] == "42"


async def test_a_piece_that_fails_ends_no_session(admin, place):
    await run(admin, place, "x = 1")
    failed = await run(admin, place, "def f():\n    raise ValueError('no')\nf()")
    assert (failed["status"], failed["exit_code"]) == ("error", 1)
    assert 'File "<session 2>", line 2, in f\n    raise ValueError' in failed["stderr"]
    assert "runner" not in failed["stderr"]
    assert (await run(admin, place, "1 +"))["stderr"].endswith("SyntaxError: invalid syntax\n")
    assert (await run(admin, place, "raise SystemExit(3)"))["exit_code"] == 3
    assert (await run(admin, place, "x"))["value"] == "1"


@pytest.mark.parametrize(
    ("code", "status", "limits"),
    [
        ("while True: pass", "timeout", {"wall_ms": 300}),
        ("import os; os._exit(7)", "error", {}),
        ("import os; os.kill(os.getpid(), 9)", "signal", {}),
        ("x = [b'x' * 2**20 for _ in range(300)]", "oom", {}),
        ("while True: print('x' * 1000)", "output_limit", {"stdout_bytes": 10}),
    ],
)
async def test_a_killed_piece_ends_the_session(admin, place, code, status, limits):
    """CONTRACT 4: a kill ends the session; 410 afterwards."""
    answer = await run(admin, place, code, limits=limits)
    assert answer["status"] == status, answer
    after = await admin.post(f"{place}/executions", json={"code": "1"})
    assert (after.status, after.json["code"]) == (410, "session_ended")
    assert (await admin.get(f"{place}/files")).status == 410
    told = (await admin.get(place)).json
    assert (told["status"], told["ended_at"] is not None, told["reason"] != "") == ("ended", True, True)


async def test_nothing_runs_between_pieces(admin, place):
    """No process of a job outlives its answer: threads stand still, children are dead."""
    code = """
import subprocess, threading, time
child = subprocess.Popen(['/bin/sh', '-c', 'sleep 60 & sleep 60'])
ticks = []
def tick():
    while True: ticks.append(time.monotonic()); time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
"""
    assert (await run(admin, place, code))["status"] == "ok"
    await run(admin, place, "before = len(ticks)")
    await asyncio.sleep(0.3)
    looked = await run(
        admin, place, "(len(ticks) - before < 20, child.wait(), __import__('os').listdir('/proc').count('2'))"
    )
    assert looked["value"].startswith("(True, -9")


async def test_files_come_and_go(admin, place):
    await run(admin, place, "import os\nos.mkdir('d'); open('d/b', 'w').write('x'); os.symlink('/etc/passwd', 'link')")
    content = bytes(range(256)) * 1000
    put = await admin.request("PUT", f"{place}/files/d/new.bin", data=content)
    assert (put.status, put.json) == (200, {"path": "d/new.bin", "bytes": len(content)})
    listed = (await admin.get(f"{place}/files")).json["items"]
    assert listed == [{"path": "d/b", "bytes": 1}, {"path": "d/new.bin", "bytes": len(content)}]
    got = await admin.get(f"{place}/files/d/new.bin")
    assert (got.status, got.body) == (200, content)
    assert (await run(admin, place, "len(open('d/new.bin', 'rb').read())"))["value"] == str(len(content))
    assert (await admin.request("PUT", f"{place}/files/d/new.bin", data=b"2")).status == 200
    assert (await admin.get(f"{place}/files/d/new.bin")).body == b"2"
    for path in ("link", "none", "d"):
        assert (await admin.get(f"{place}/files/{path}")).status == 404
    for path in ("..%2fup", "d", "link%2fx", "%2fabs", "b/" * 70 + "deep"):
        assert (await admin.request("PUT", f"{place}/files/{path}", data=b"x")).status == 422, path


async def test_one_piece_at_a_time_in_their_order(admin, place):
    await run(admin, place, "log = []")
    code = "import time\nlog.append(({n}, 'in')); time.sleep(0.1); log.append(({n}, 'out'))"
    await asyncio.gather(*(run(admin, place, code.format(n=n)) for n in range(3)))
    log = (await run(admin, place, "log"))["value"]
    assert all(f"({n}, 'in'), ({n}, 'out')" in log for n in range(3))


async def test_a_session_ends_when_nobody_uses_it(admin):
    made = (await admin.post(PATH, json={"ttl_s": 1})).json
    assert (await run(admin, f"{PATH}/{made['id']}", "1"))["value"] == "1"
    while (told := (await admin.get(f"{PATH}/{made['id']}")).json)["status"] != "ended":
        await asyncio.sleep(0.05)
    assert told["reason"] == "Nobody used it for 1 s."


async def test_ending_one_answers_it_and_twice_is_once(admin):
    made = (await admin.post(PATH, json={"subject": "ada", "limits": {"memory_bytes": 67_108_864}})).json
    location = f"{PATH}/{made['id']}"
    assert (made["status"], made["ttl_s"], made["subject"]) == ("idle", 600, "ada")
    ended = (await admin.request("DELETE", location)).json
    assert (ended["status"], ended["reason"]) == ("ended", "Ended by its client.")
    assert (await admin.request("DELETE", location)).json == ended
    assert made["id"] in [item["id"] for item in (await admin.get(f"{PATH}?subject=ada")).json["items"]]


async def test_what_is_wrong_is_refused_before_anything_is_opened(admin, place, client):
    assert (await admin.post(PATH, json={"ttl_s": 0})).status == 422
    assert (await admin.post(PATH, json={"profile": "none"})).json["errors"][0]["loc"] == ["profile"]
    assert (await admin.post(PATH, json={"limits": {"pids": 10**6}})).json["code"] == "limit_above_profile"
    fixed = (await admin.post(f"{place}/executions", json={"code": "", "limits": {"pids": 9}})).json
    assert (fixed["code"], fixed["errors"][0]["loc"]) == ("invalid", ["limits", "pids"])
    assert (await admin.post(f"{place}/executions", json={"code": "", "isolation": "cell"})).status == 422
    assert (await admin.get(f"{PATH}/none")).status == 404
    other = await admin.with_scopes("execute")
    assert (await other.get(place)).status == 200  # of the same identity
    assert (await client.get(place)).status == 401


async def test_a_piece_can_be_streamed_cancelled_and_waited_for_elsewhere(admin, place):
    answer = await admin.post(
        f"{place}/executions", json={"code": "while True: pass"}, headers={"Prefer": "respond-async"}
    )
    assert answer.status == 202
    cancelled = (await admin.request("DELETE", answer.headers["Location"])).json
    assert cancelled["status"] == "cancelled"
    assert (await admin.get(place)).json["status"] == "ended"
