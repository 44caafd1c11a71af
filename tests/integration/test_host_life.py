"""Plugins are found, loaded, swapped and ended while requests go on (CONTRACT 3, R2-10, R2-11)."""

import asyncio
import os
import sys
import threading
import time
import weakref
from textwrap import dedent

import pytest

from orchestrator.contracts.errors import Forbidden, Invalid, NotFound, OrchestratorError
from orchestrator.host.importing import PREFIX
from tests.integration.host_rig import footprint, running, settled

SYNC = "def handle(request): return request['text']"
FORMS = {
    "plain_sync": SYNC,
    "plain_async": "async def handle(request): return request.text",
    "by_get": "def handle(request): return request.get('intent') or request.text",
    "with_init": "def init(manager):\n global M\n M = manager\n"
    "def handle(request): return M.config['word'] + request.text",
    "marked": "from orchestrator.sdk import hookimpl\n@hookimpl\ndef handle(request): return request.text",
    "a_class": "class Plugin:\n def init(self, manager): self.n = 1\n"
    " async def handle(self, request): return request.text * self.n",
    "returns_coroutine": "async def inner(r): return r.text\ndef handle(request): return inner(request)",
    "pack/__init__": "from .deep import handle",
    "pack/deep": "def handle(request): return request.text",
}  # fmt: skip


async def test_every_form_of_plugin_answers(tmp_path):
    """R2-10: sync and async, plain and marked, module, package and class."""
    forms = {f"{name}.py": source for name, source in FORMS.items()}
    async with running(tmp_path, forms, plugin_config={"with_init": {"word": ""}}) as rig:
        names = {view.name for view in rig.host.views(admin=True)}
        assert names == {name.partition("/")[0] for name in FORMS}
        for name in names:
            assert await rig.ask(name, "hello") == "hello", rig.view(name)


BROKEN = {
    "syntax": ("def handle(:", "line 1"),
    "raises": ("raise ValueError('no')", "ValueError: no"),
    "exits": ("import sys; sys.exit(3)", "SystemExit"),
    "base": ("raise BaseException('b')", "BaseException: b"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "missing": ("import nowhere_to_be_found", "pip install nowhere_to_be_found"),
    "nothing": ("x = 1", "neither"),
    "binary": ("\x00", "null bytes"),
    "manifest": ("PLUGIN = {'colour': 1}\ndef handle(request): pass", "PLUGIN.colour"),
    "bad_init": ("def init(manager): 1 / 0\ndef handle(request): pass", "ZeroDivisionError"),
    "slow": ("import time; time.sleep(60)", "longer than 0.5 s"),
    "spins": ("while True: pass", "longer than 0.5 s"),
    "later": ("PLUGIN = {'isolation': 'sandbox'}", "not there yet"),
    "hidden": ("PLUGIN = {'isolation': 'pro' + 'cess'}\ndef handle(request): pass", "as it is"),
    "nasty": ("class E(Exception):\n def __str__(self): raise SystemExit\nraise E", "cannot be had"),
    "config": ("PLUGIN = {'config': {'required': ['key']}}\ndef handle(request): pass", "'key' is a required"),
}


async def test_plugins_that_cannot_be_loaded_say_why_and_harm_nobody(tmp_path):
    """R2-11: a broken plugin does not break the loader and shows `error`."""
    sources = {f"{name}.py": source for name, (source, _) in BROKEN.items()}
    async with running(tmp_path, {**sources, "good.py": SYNC}, import_timeout_s=0.5) as rig:
        assert await rig.ask("good") == "hello"
        for name, (_, why) in BROKEN.items():
            await rig.event("plugin.failed", name)
            view = rig.view(name)
            assert view.state == "broken", name
            assert why in view.error.message, (name, view.error)
            assert rig.host.view(name, admin=False).error.traceback is None
            with pytest.raises(Invalid, match="broken"):
                await rig.ask(name)
        assert 'File "raises.py", line 1' in rig.view("raises").error.traceback
        assert "orchestrator/host" not in str([view.error for view in rig.host.views(admin=True)])


async def test_an_import_that_hangs_does_not_hold_up_the_start(tmp_path):
    began = time.monotonic()
    async with running(tmp_path, {"a.py": "import time; time.sleep(30)", "b.py": SYNC}, start_wait_s=0.3) as rig:
        assert time.monotonic() - began < 3
        assert rig.view("a").error.message == "it is still being imported"
        assert await rig.ask("b") == "hello"


async def test_imports_that_fork_print_and_start_threads_harm_nobody(tmp_path, capfd):
    source = """
        import os, threading
        print("hello from an import")
        child = os.fork()
        if child == 0:
            raise ValueError("in the child")
        status = os.waitpid(child, 0)[1]
        threading.Thread(target=lambda: 1 / 0 if False else None).start()
        def handle(request): return status
    """
    async with running(tmp_path, {"a.py": source}) as rig:
        assert await rig.ask("a") == 0, "the copy of the daemon ended quietly"


async def test_forking_on_the_event_loop_does_not_run_it_twice(tmp_path):
    source = """
        import os
        async def handle(request):
            child = os.fork()
            return os.waitpid(child, 0)[1] if child else "twice"
    """
    async with running(tmp_path, {"a.py": source}) as rig:
        assert await rig.ask("a") == 0


# Reload


async def test_a_saved_file_takes_effect_and_is_told(tmp_path):
    async with running(tmp_path, {"a.py": "def handle(request): return 1"}) as rig:
        before = rig.host.table()
        assert rig.host.table() is before
        rig.write("a.py", "PLUGIN = {'version': '2', 'keywords': ['k']}\ndef handle(request): return 2")
        told = await rig.event("plugin.reloaded", "a")
        assert (told["version"], told["generation"]) == ("2", 2)
        assert rig.host.table() is not before
        assert before["a"].keywords == ()
        assert rig.host.table()["a"].keywords == ("k",)
        assert rig.host.table()["a"].digest == rig.view("a").digest == told["digest"]
        assert await rig.ask("a") == 2


async def test_touching_a_file_changes_nothing(tmp_path):
    async with running(tmp_path, {"a.py": SYNC}) as rig:
        table = rig.host.table()
        os.utime(rig.folder / "a.py")
        rig.write("b.py", SYNC)
        await rig.event("plugin.loaded", "b")
        assert rig.view("a").generation == 1
        assert rig.host.table()["a"] is table["a"] or rig.host.table()["a"] == table["a"]


async def test_the_last_good_version_serves_beside_a_broken_file_until_it_is_mended(tmp_path):
    async with running(tmp_path, {"a.py": "def handle(request): return 1"}) as rig:
        rig.write("a.py", "def handle(request): return")
        await rig.event("plugin.reloaded", "a")
        rig.write("a.py", "def handle(request):\n    return (")
        await rig.event("plugin.failed", "a")
        view = rig.view("a")
        assert (view.state, view.error.message[:6]) == ("active", "line 2")
        assert await rig.ask("a") is None
        rig.write("a.py", "def handle(request): return")
        await rig.host.reload("a")
        assert rig.view("a").error is None
        rig.write("a.py", "def init(manager): raise OSError\ndef handle(request): return 3")
        await rig.event("plugin.failed", "a", 2)
        assert await rig.ask("a") is None


async def test_going_back_to_the_serving_text_clears_the_error(tmp_path):
    async with running(tmp_path, {"a.py": SYNC}) as rig:
        rig.write("a.py", "(")
        await rig.event("plugin.failed", "a")
        rig.write("a.py", SYNC)
        async with asyncio.timeout(5):
            while rig.view("a").error is not None:
                await asyncio.sleep(0.01)
        assert rig.view("a").generation == 1


async def test_requests_under_way_end_on_their_version_and_then_it_is_closed(tmp_path):
    source = """
        import asyncio
        gate = asyncio.Event()
        def init(manager):
            global M
            M = manager
        async def handle(request):
            if request.text == "open":
                gate.set()
            await gate.wait()
            return VERSION
        async def close():
            await M.publish("closed", {"version": VERSION})
    """
    async with running(tmp_path, {"a.py": "VERSION = 1\n" + dedent(source)}) as rig:
        old = rig.call("a")
        waiting = asyncio.gather(*(rig.ask("a") for _ in range(5)))
        await asyncio.sleep(0)
        rig.write("a.py", "VERSION = 2\n" + dedent(source))
        await rig.event("plugin.reloaded", "a")
        assert await rig.ask("a", "open") == 2
        assert (await rig.host.handle("a", {"text": "open"}, old)).value == 1, "routed to it before it was replaced"
        assert await waiting == [1] * 5
        async with asyncio.timeout(5):
            while not rig.services.published:
                await asyncio.sleep(0.01)
        assert rig.services.published[0][1:3] == ("plugin.a.closed", {"version": 1})


async def test_added_renamed_and_deleted_files(tmp_path):
    async with running(tmp_path) as rig:
        path = rig.write("a.py", SYNC)
        await rig.event("plugin.loaded", "a")
        path.rename(rig.folder / "b.py")
        await rig.event("plugin.loaded", "b")
        await rig.event("plugin.removed", "a")
        assert set(rig.host.table()) == {"b"}
        with pytest.raises(NotFound):
            await rig.ask("a")
        (rig.folder / "b.py").unlink()
        await rig.event("plugin.removed", "b")
        assert not rig.host.table()


async def test_a_renamed_file_that_keeps_its_name_serves_all_the_while(tmp_path):
    source = "PLUGIN = {'name': 'n'}\ndef handle(request): return 1"
    async with running(tmp_path, {"a.py": source}) as rig:
        (rig.folder / "a.py").rename(rig.folder / "b.py")
        while rig.view("n").origin != "folder:b.py" or rig.view("n").generation != 2:
            assert await rig.ask("n") == 1
            await asyncio.sleep(0.005)
        assert [view.name for view in rig.host.views(admin=True)] == ["n"]


async def test_an_editors_unlink_and_create_is_no_deletion(tmp_path):
    async with running(tmp_path, {"a.py": "def handle(request): return 1"}, delete_grace_ms=2000) as rig:
        (rig.folder / "a.py").unlink()
        rig.write("b.py", SYNC)
        await rig.event("plugin.loaded", "b")
        assert await rig.ask("a") == 1
        rig.write("a.py", "def handle(request): return 2")
        await rig.event("plugin.reloaded", "a")
        assert not [e for e in rig.events if e[0] == "plugin.removed"]


async def test_a_packages_inner_file_and_data_count_as_change(tmp_path):
    package = {"p/__init__.py": "from .inner import handle", "p/inner.py": "def handle(request): return 1"}
    async with running(tmp_path, package) as rig:
        rig.write("p/inner.py", "def handle(request): return 2")
        await rig.event("plugin.reloaded", "p")
        assert await rig.ask("p") == 2
        digest = rig.view("p").digest
        rig.write("p/data.json", "{}")
        await rig.event("plugin.reloaded", "p", 2)
        assert rig.view("p").digest != digest


async def test_a_folder_that_appears_later_is_watched(tmp_path):
    late = tmp_path / "late"
    async with running(tmp_path, folders=[tmp_path / "plugins", late], rescan_s=0.05) as rig:
        late.mkdir(mode=0o755)
        (late / "a.py").write_text(SYNC)
        await rig.event("plugin.loaded", "a")
        assert await rig.ask("a") == "hello"


async def test_a_second_plugin_of_one_name_is_broken_until_the_first_goes(tmp_path):
    source = "PLUGIN = {'name': 'x'}\ndef handle(request): return '%s'"
    async with running(tmp_path, {"a.py": source % "a", "b.py": source % "b"}) as rig:
        assert await rig.ask("x") == "a"
        assert rig.view("b").state == "broken"
        assert "taken by folder:a.py" in rig.view("b").error.message
        (rig.folder / "a.py").unlink()
        await rig.event("plugin.loaded", "x", 2)
        assert await rig.ask("x") == "b"


async def test_a_plugin_cannot_take_anothers_name_by_renaming_itself(tmp_path):
    async with running(tmp_path, {"a.py": SYNC, "b.py": "def handle(request): return 'b'"}) as rig:
        rig.write("b.py", "PLUGIN = {'name': 'a'}\ndef handle(request): return 'thief'")
        async with asyncio.timeout(5):
            while rig.view("b").error is None:
                await asyncio.sleep(0.01)
        assert await rig.ask("a") == "hello"
        assert await rig.ask("b") == "b"
        rig.write("b.py", "PLUGIN = {'name': ''.join(['c'])}\ndef handle(request): return 'c'")
        await rig.event("plugin.reloaded", "c")
        assert set(rig.host.table()) == {"a", "c"}


@pytest.mark.parametrize("isolation", ["inline", "process"])
async def test_a_class_declares_itself_by_its_attributes(tmp_path, isolation):
    source = (
        f"class Plugin:\n keywords = ['greet']\n intents = ('greet',)\n isolation = '{isolation}'\n"
        " def handle(self, request): return 1\n"
    )
    async with running(tmp_path, {"a.py": source}) as rig:
        await rig.event("plugin.loaded", "a")
        view = rig.view("a")
        assert (view.keywords, view.intents, view.isolation) == (["greet"], ["greet"], isolation)


async def test_a_file_that_others_may_write_is_listed_broken_and_mended_by_its_chmod(tmp_path):
    async with running(tmp_path) as rig:
        path = rig.write("a.py", SYNC)
        path.chmod(0o666)
        await rig.host._nursery.scan()
        await rig.event("plugin.failed", "a")
        message = rig.view("a").error.message
        path.chmod(0o644)
        await rig.event("plugin.loaded", "a")
        assert "chmod o-w" in message


async def test_disabled_survives_a_restart_and_is_not_even_imported(tmp_path):
    mark = tmp_path / "mark"
    source = f"with open({str(mark)!r}, 'a') as f: f.write('x')\n{SYNC}"
    async with running(tmp_path, {"a.py": source}) as rig:
        old = rig.call("a")
        assert (await rig.host.disable("a")).state == "disabled"
        with pytest.raises(Invalid, match="disabled"):
            await rig.host.handle("a", {"text": "x"}, old)
    async with running(tmp_path) as rig:
        assert rig.view("a").state == "disabled"
        assert mark.read_text() == "x"
        assert (await rig.host.enable("a")).state == "active"
        assert await rig.ask("a") == "hello"
        assert (await rig.host.reload("a")).generation == 2
        with pytest.raises(NotFound):
            await rig.host.reload("nobody")


async def test_installed_plugins_come_by_entry_point(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "dist_x-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dist-x\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[orchestrator.plugins]\nep_module = dist_x.inner\nep_class = dist_x:Thing\nep_lost = dist_gone\n"
    )
    package = site / "dist_x"
    package.mkdir()
    (package / "__init__.py").write_text("class Thing:\n def handle(self, request): return 'thing'\n")
    (package / "inner.py").write_text("from . import Thing\ndef handle(request): return 'inner'\n")
    monkeypatch.syspath_prepend(str(site))
    async with running(tmp_path, {"a.py": SYNC}, entry_points=True) as rig:
        assert await rig.ask("ep_module") == "inner"
        assert await rig.ask("ep_class") == "thing"
        assert rig.view("ep_class").origin == "entry_point:dist-x"
        assert "cannot be read" in rig.view("ep_lost").error.message
        assert "dist_x" not in sys.modules


# Under load, and for long


@pytest.mark.slow
@pytest.mark.slow
async def test_a_thousand_reloads_leak_nothing(tmp_path):
    async with running(tmp_path, {"a.py": SYNC}, linger_ms=0) as rig:
        for _ in range(20):
            await rig.host.reload("a")
        await settled(rig)
        rig.events.clear()
        before = footprint()
        module = weakref.ref(sys.modules[next(name for name in sys.modules if name.startswith(f"{PREFIX}a_"))])
        for _ in range(1000):
            await rig.host.reload("a")
        await settled(rig)
        assert await rig.ask("a") == "hello"
        assert module() is None
        rig.events.clear()
        after = footprint()
        assert after[0] <= before[0] + 2, "threads"
        assert after[1] <= before[1] + 1, "descriptors"
        assert after[2] == before[2], "modules"
        assert after[3] <= before[3] + 300, "objects"


async def test_a_permit_for_another_version_is_refused(tmp_path):
    async with running(tmp_path, {"a.py": SYNC}) as rig:
        stale = rig.call("a")
        rig.write("a.py", SYNC + "  # changed")
        await rig.event("plugin.reloaded", "a")
        await settled(rig)
        with pytest.raises(Forbidden):
            await rig.host.handle("a", {"text": "x"}, stale)
        used = rig.call("a")
        await rig.host.handle("a", {"text": "x"}, used)
        with pytest.raises(OrchestratorError, match="used"):
            await rig.host.handle("a", {"text": "x"}, used)


async def test_nothing_is_left_when_the_host_is_closed(tmp_path):
    before, others = footprint(), {name for name in sys.modules if name.startswith(PREFIX)}
    async with running(tmp_path, {"a.py": SYNC, "b.py": "PLUGIN = {'isolation': 'process'}\n" + SYNC}) as rig:
        assert await rig.ask("a") == await rig.ask("b")
    async with asyncio.timeout(5):
        while threading.active_count() > before[0] + 1:
            await asyncio.sleep(0.01)
    assert {name for name in sys.modules if name.startswith(PREFIX)} <= others
    assert footprint()[1] <= before[1] + 1
