"""A call hurts nobody but itself: deadlines, faults, breaker, hooks, the manager (CONTRACT 3, ABUSE "Plugins")."""

import asyncio
import json
import time

import pytest

from orchestrator.contracts.errors import Invalid, NotFound, OrchestratorError, PluginFailed, PluginTimeout, Unavailable
from tests.integration.host_rig import routes, running, with_manager

GOOD = "async def handle(request): return request.text"


async def fails(rig, name: str, **fields) -> OrchestratorError:
    with pytest.raises(OrchestratorError) as caught:
        await rig.ask(name, **fields)
    return caught.value


FAULTS = {
    "raises": ("1 / 0", "raised ZeroDivisionError"),
    "exits": ("import sys; sys.exit(1)", "left by SystemExit"),
    "interrupts": ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    "generator": ("raise GeneratorExit", "left by GeneratorExit"),
    "cancels": ("import asyncio; raise asyncio.CancelledError", "raised CancelledError"),
    "stops": ("raise StopIteration(5)", "raised"),
    "recurses": ("def f(): return f()\n return f()", "raised RecursionError"),
    "times_out": ("raise TimeoutError", "raised TimeoutError"),
    "itself": ("return handle", "answer is of type function"),
    "a_set": ("return {'a': [{1}]}", r"answer.a[0] is of type set"),
    "nan": ("return float('nan')", "answer is nan"),
    "surrogate": ("return '\\ud800'", "Unicode"),
    "ring": ("x = []; x.append(x); return x", "contains itself"),
    "huge": ("return 'x' * 100_000_000", "larger than"),
    "many": ("return [0] * 20_000_000", "larger than"),
    "nasty": ("\n class E(Exception):\n  def __str__(self): raise SystemExit\n raise E", "raised E"),
    "lies": ("\n class D(dict):\n  def items(self): raise SystemExit\n return D(a=1)", None),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_whatever_a_handle_does_ends_its_own_call_alone(tmp_path, kind):
    """CONTRACT 3: raises, leaves, answers what is not JSON: 502, and the others go on."""
    sources = {f"{name}.py": f"{kind} handle(request):\n {body}\n" for name, (body, _) in FAULTS.items()}
    async with running(tmp_path, {**sources, "good.py": GOOD}) as rig:
        for name, (_, why) in FAULTS.items():
            if name == "lies":
                assert await rig.ask(name) == {"a": 1}
            else:
                fault = await fails(rig, name)
                assert (fault.status, fault.code) == (502, "plugin_error"), name
                assert why is None or why in fault.detail, fault.detail
                assert (rig.view(name).calls, rig.view(name).failures) == (1, 1)
            assert await rig.ask("good") == "hello"


async def test_only_the_plugins_own_frames_are_kept_and_the_client_sees_none(tmp_path):
    """R2-24."""
    source = (
        "def inner(secret):\n    raise ValueError('token ' + secret)\n\ndef handle(request):\n    return inner('abc')\n"
    )
    async with running(tmp_path, {"a.py": source}) as rig:
        fault = await fails(rig, "a")
        assert isinstance(fault, PluginFailed)
        assert fault.traceback.splitlines()[1:] == [
            '  File "a.py", line 5, in handle', "    return inner('abc')",
            '  File "a.py", line 2, in inner', "    raise ValueError('token ' + secret)", "ValueError: token abc",
        ]  # fmt: skip
        assert "abc" not in fault.detail


async def test_a_refusal_is_422_and_no_failure(tmp_path):
    source = "from orchestrator.sdk import Refused\ndef handle(request): raise Refused('too_hard', 'no', nearest=['x'])"
    async with running(tmp_path, {"a.py": source}, breaker_failures=1) as rig:
        for _ in range(3):
            fault = await fails(rig, "a")
            assert (fault.status, fault.code, fault.extra) == (422, "too_hard", {"nearest": ["x"]})
        assert (rig.view("a").calls, rig.view("a").failures) == (3, 0)


HANGS = {
    "sleeps": "import time\ndef handle(request): time.sleep(3)",
    "spins": "def handle(request):\n while True: pass",
    "waits": "import asyncio\nasync def handle(request): await asyncio.sleep(3)",
    "stubborn": (
        "import asyncio\nasync def handle(request):\n for _ in range(3):\n"
        "  try: await asyncio.sleep(1)\n  except BaseException: pass"
    ),
    "late": "import asyncio\nasync def inner(): await asyncio.sleep(3)\ndef handle(request): return inner()",
}


async def test_a_deadline_answers_504_at_its_time(tmp_path):
    sources = {f"{name}.py": "PLUGIN = {'timeout_s': 0.2}\n" + source for name, source in HANGS.items()}
    async with running(tmp_path, sources) as rig:
        for name in HANGS:
            began = time.monotonic()
            fault = await fails(rig, name)
            assert (type(fault), fault.status) == (PluginTimeout, 504), name
            assert 0.19 < time.monotonic() - began < 0.6, name


async def test_the_querys_own_deadline_holds_where_it_is_earlier(tmp_path):
    async with running(tmp_path, {"a.py": HANGS["waits"]}) as rig:
        for seconds in (0.1, -1.0):
            with pytest.raises(PluginTimeout):
                await rig.host.handle("a", {"text": "x"}, rig.call("a", deadline=rig.clock.monotonic() + seconds))


async def test_a_hung_plugin_without_threads_left_harms_no_other(tmp_path):
    hung = "import threading\nPLUGIN = {'timeout_s': 0.1}\nlock = threading.Lock()\nlock.acquire()\n"
    hung += "def handle(request): lock.acquire()"
    async with running(tmp_path, {"hung.py": hung, "good.py": "def handle(request): return 1"}, threads=2) as rig:
        for _ in range(5):
            assert (await fails(rig, "hung")).status == 504
            assert await rig.ask("good") == 1
        rig.write("hung.py", "def handle(request): return 'mended'")
        await rig.event("plugin.reloaded", "hung")
        assert await rig.ask("hung") == "mended"


async def test_a_spinning_thread_is_freed_after_its_deadline(tmp_path):
    """More calls spin than the plugin has threads, and the next one is still answered."""
    source = "PLUGIN = {'timeout_s': 0.3}\ndef handle(request):\n while request.text == 'spin': pass\n return 1"
    async with running(tmp_path, {"a.py": source}, threads=1) as rig:
        for _ in range(3):
            assert (await fails(rig, "a", text="spin")).status == 504
        assert await rig.ask("a") == 1


async def test_the_breaker_opens_says_when_to_come_back_and_closes(tmp_path):
    source = "def handle(request): return 1 if request.text == 'good' else 1 / 0"
    async with running(tmp_path, {"a.py": source}, breaker_failures=3, breaker_cooldown_s=0.2) as rig:
        for _ in range(3):
            assert "ZeroDivisionError" in (await fails(rig, "a")).detail
        fault = await fails(rig, "a", text="good")
        assert (fault.status, fault.code, fault.headers["Retry-After"]) == (502, "plugin_error", "1")
        assert "left alone" in fault.detail
        await asyncio.sleep(0.25)
        assert await rig.ask("a", "good") == 1
        assert await rig.ask("a", "good") == 1
        for _ in range(3):
            await fails(rig, "a")
        rig.write("a.py", source + " ")
        await rig.event("plugin.reloaded", "a")
        assert await rig.ask("a", "good") == 1, "a new version starts with a clean record"


async def test_a_caller_that_leaves_is_no_failure_of_the_plugin(tmp_path):
    async with running(tmp_path, {"a.py": HANGS["waits"], "b.py": HANGS["sleeps"]}) as rig:
        for name in "ab":
            asking = asyncio.gather(rig.ask(name))
            await asyncio.sleep(0.05)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert rig.view(name).failures == 0


async def test_calls_failures_and_times_are_counted(tmp_path):
    async with running(tmp_path, {"a.py": GOOD}) as rig:
        assert rig.view("a").p50_ms is None
        for _ in range(5):
            await rig.ask("a")
        view = rig.view("a")
        assert (view.calls, view.failures) == (5, 0)
        assert 0 < view.p50_ms < 50


async def test_the_reply_is_encoded_once_and_byte_for_byte_json(tmp_path):
    async with running(tmp_path, {"a.py": "def handle(request): return {'b': 1, 'a': 'ü', 'c': [1.5, None]}"}) as rig:
        reply = await rig.host.handle("a", {"text": "x"}, rig.call("a"))
        assert reply.encoded == '{"b":1,"a":"ü","c":[1.5,null]}'.encode()
        assert json.loads(reply.encoded) == reply.value


async def test_an_unknown_plugin_and_one_without_handle(tmp_path):
    async with running(tmp_path, {"a.py": "def route(request, candidates): return None"}) as rig:
        with pytest.raises(NotFound):
            await rig.ask("nobody")
        with pytest.raises(Invalid, match="no `handle`"):
            await rig.ask("a")


async def test_a_large_answer_does_not_hold_the_loop(tmp_path):
    async with running(tmp_path, {"a.py": "async def handle(request): return list(range(300_000))"}) as rig:
        assert len(await rig.ask("a")) == 300_000


# Routing hooks


async def test_the_first_valid_opinion_of_the_hooks_wins_in_name_order(tmp_path):
    """CONTRACT 3: in name order, 200 ms each, a failing hook is skipped, an unknown plugin ignored."""
    hooks = {
        "h1.py": "def route(request, candidates): request['params']['k'].append(1); candidates.clear()",
        "h2.py": "def route(request, candidates): 1 / 0",
        "h3.py": "import time\ndef route(request, candidates): time.sleep(1)",
        "h4.py": "async def route(request, candidates): return {'plugin': 'nobody', 'score': 1}",
        "h5.py": "def route(): return {'plugin': 'good', 'score': float('nan')}",
        "h6.py": "def route(): return {'plugin': 'h1', 'score': 1}",
        "h7.py": "def route(request, candidates):\n"
        " return {'plugin': candidates[0].plugin, 'score': 7 + len(request.params['k'])}",
        "h8.py": "def route(): return {'plugin': 'h8', 'score': 1}",
        "good.py": GOOD,
    }  # fmt: skip
    async with running(tmp_path, hooks) as rig:
        assert rig.host.has_route_hooks()
        began = time.monotonic()
        assert await routes(rig) == ("good", 1.0)
        assert time.monotonic() - began < 0.5


async def test_a_hook_that_keeps_hanging_is_left_alone(tmp_path):
    hooks = {"h.py": "import time\ndef route(): time.sleep(0.5)", "good.py": GOOD}
    async with running(tmp_path, hooks, breaker_failures=2, route_hook_ms=30) as rig:
        for _ in range(2):
            assert await routes(rig) is None
        began = time.monotonic()
        assert await routes(rig) is None
        assert time.monotonic() - began < 0.02


async def test_no_hooks_no_opinion(tmp_path):
    async with running(tmp_path, {"good.py": GOOD}) as rig:
        assert not rig.host.has_route_hooks()
        assert await routes(rig) is None


# The manager


async def test_the_manager_serves_sync_and_async_code_as_the_caller_of_the_query(tmp_path):
    sync = with_manager(
        "def handle(request):",
        "    ran = M.sandbox.run_blocking('1', stdin='x')",
        "    heard = M.query_blocking('hey', intent='i')",
        "    M.publish_blocking('done', {'a': 1})",
        "    return [ran.usage.wall_ms, ran['stdout'], heard.response.heard, M.config['n'], M.secrets['key'],"
        " repr(M.secrets),"
        " [c.name for c in M.capabilities()]]",
    )
    asynchronous = sync.replace("def handle", "async def handle").replace("_blocking", "").replace("= M.", "= await M.")
    asynchronous = asynchronous.replace("    M.publish", "    await M.publish")
    secrets = {name: {"key": "hush"} for name in ("s", "t")}
    async with running(tmp_path, {"s.py": sync, "t.py": asynchronous}, secrets=secrets) as rig:
        for name in "st":
            call = rig.call(name)
            value = (await rig.host.handle(name, {"text": "x"}, call)).value
            assert value == [1.5, "ran 1", "hey", 2, "hush", "secrets(key)", ["s", "t"]]
            (kind, ran, code, fields), (_, asked, _, more) = rig.services.asked[-2:]
            assert (kind, code, fields, more) == ("run_code", "1", {"stdin": "x"}, {"intent": "i"})
            assert ran.permit is asked.permit is call.permit
            assert ran.deadline < rig.clock.monotonic() + 31
            assert rig.services.published[-1][:3] == (name, f"plugin.{name}.done", {"a": 1})


async def test_outside_of_a_call_nothing_that_needs_a_permit_happens(tmp_path):
    """R2-08, fail closed: not in init, not in a thread of its own, not in a routing hook."""
    source = """
        import asyncio, threading
        found = []
        async def init(manager):
            global M
            M = manager
            try: await manager.sandbox.run("1")
            except RuntimeError as fault: found.append(str(fault))
        async def route():
            await M.sandbox.run("1")
        def handle(request):
            def own():
                try: M.sandbox.run_blocking("1")
                except RuntimeError as fault: found.append(str(fault))
            thread = threading.Thread(target=own)
            thread.start()
            thread.join()
            return found
    """
    async with running(tmp_path, {"a.py": source}) as rig:
        found = await rig.ask("a")
        assert len(found) == 2
        assert all("permit" in text for text in found)
        assert await routes(rig) is None
        assert rig.services.asked == []


async def test_a_twin_on_the_event_loop_says_what_to_write(tmp_path):
    source = with_manager(
        "async def handle(request):", "    try: M.query_blocking('x')", "    except RuntimeError as f: return str(f)"
    )
    async with running(tmp_path, {"a.py": source}) as rig:
        assert "await manager.query" in await rig.ask("a")


async def test_the_async_manager_works_from_a_loop_of_the_plugins_own(tmp_path):
    source = "import asyncio\n" + with_manager(
        "def handle(request):", "    return asyncio.run(M.sandbox.run('1'))['stdout']"
    )
    async with running(tmp_path, {"a.py": source}) as rig:
        assert await rig.ask("a") == "ran 1"


async def test_a_fault_of_the_daemon_passes_through_the_plugin_as_it_is(tmp_path):
    """R2-09: no engine is 503 sandbox_unavailable, not a failure of the plugin."""
    source = with_manager("def handle(request):", "    return M.sandbox.run_blocking('1')")
    async with running(tmp_path, {"a.py": source}, breaker_failures=1) as rig:
        rig.services.engine = False
        for _ in range(2):
            assert isinstance(await fails(rig, "a"), Unavailable)
        assert rig.view("a").failures == 0


async def test_listeners_hear_until_their_version_is_replaced_and_hurt_nobody(tmp_path):
    source = """
        heard = []
        async def init(manager):
            await manager.subscribe("query.*", lambda event: heard.append(event.data.n))
            async def second(event): 1 / 0
            await manager.subscribe("query.*", second)
        def handle(request): return heard
    """
    async with running(tmp_path, {"a.py": source}) as rig:
        first, second = rig.services.listeners["query.*"]
        await first({"topic": "query.failed", "data": {"n": 7}})
        with pytest.raises(PluginFailed):
            await second({"topic": "query.failed", "data": {}})
        assert await rig.ask("a") == [7]
        await rig.host.disable("a")
        async with asyncio.timeout(5):
            while rig.services.listeners["query.*"]:
                await asyncio.sleep(0.01)


# The event loop
