"""The host's pure parts: breaker, answers, manifests, hooks, faults, frames (CONTRACT 3, R2-10, R2-11, R2-24)."""

import asyncio
import json
from collections import OrderedDict
from enum import IntEnum
from types import ModuleType

import pytest

from orchestrator.contracts.errors import Invalid, PluginFailed, StartRefused, TooMany, Unavailable
from orchestrator.host.answers import MAX_DEPTH, Heavy, NotJson, encode
from orchestrator.host.breakers import Breaker, Phase
from orchestrator.host.children import Allowance
from orchestrator.host.faults import described, import_advice, told
from orchestrator.host.frames import BadFrame, fault_from_json, fault_to_json, read_frame
from orchestrator.host.importing import DECLARED
from orchestrator.host.manifests import BadManifest, Manifest, check_undone, checked, configured, peek
from orchestrator.host.registry import BadHooks, hooks_of
from orchestrator.host.switches import Switches
from orchestrator.kernel.clock import FakeClock
from orchestrator.sdk import Record, Refused, hookimpl

MOST = 10_000


# The breaker


def test_breaker_opens_after_failures_in_a_row_and_closes_by_one_good_probe():
    breaker = Breaker(3, 5.0)
    for _ in range(2):
        breaker.failed(0.0)
    breaker.succeeded()
    for _ in range(3):
        assert breaker.admit(1.0) is None
        breaker.failed(1.0)
    assert breaker.admit(2.0) == pytest.approx(4.0)
    assert breaker.admit(6.0) is None, "the probe"
    assert breaker.admit(6.0) is not None, "one probe at a time"
    breaker.succeeded()
    assert breaker.phase is Phase.CLOSED
    assert breaker.admit(6.0) is None


def test_a_failed_probe_opens_it_again_and_an_abandoned_one_lets_the_next_try():
    breaker = Breaker(1, 5.0)
    breaker.failed(0.0)
    assert breaker.admit(5.0) is None
    breaker.failed(5.0)
    assert breaker.admit(6.0) == pytest.approx(4.0)
    assert breaker.admit(10.0) is None
    breaker.abandoned()
    assert breaker.admit(10.0) is None


def test_late_failures_do_not_prolong_an_open_breaker():
    breaker = Breaker(1, 5.0)
    breaker.failed(0.0)
    breaker.failed(4.0)
    assert breaker.admit(5.0) is None


# Answers


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "ü", [], {}, [1, [2, {"a": None}]], {"a": {"b": [True]}}])
def test_json_values_are_encoded_as_they_are(value):
    reply = encode(value, MOST)
    assert json.loads(reply.encoded) == value
    assert reply.value == value


def test_subclasses_of_json_types_are_answered_as_plain_values():
    class Shade(IntEnum):
        DARK = 3

    class Liar(dict):
        def items(self):
            return [("forged", 1)]

    value = {
        "r": Record(a=Record(b=1)),
        "o": OrderedDict(x=1),
        "s": Shade.DARK,
        "t": (1, 2),
        "l": Liar(true=1),
        "b": True,
    }
    reply = encode(value, MOST)
    assert json.loads(reply.encoded) == {
        "r": {"a": {"b": 1}}, "o": {"x": 1}, "s": 3, "t": [1, 2], "l": {"true": 1}, "b": True,
    }  # fmt: skip
    assert type(reply.value["r"]) is dict


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("nan"), "nan"), ([1, {"x": float("inf")}], r"^\[1\]\.x is inf"), ({1: 2}, "key of type int"),
        ({1}, "set"),
        (b"x", "bytes"), ({"a": [object()]}, r"^\.a\[0\] is of type object"), ("\ud800", "Unicode"),
        ({"\ud800": 1}, "Unicode"), (lambda: 1, "function"), ("x" * MOST, "larger"),
        ([0] * MOST, "larger"), (json, "module"), ([["x" * 99] * 99] * 9, "larger"),
        ([1.0, float("nan")], r"^\[1\] is nan"),
    ],
)  # fmt: skip
def test_what_is_not_json_is_named_with_its_place(value, why):
    with pytest.raises(NotJson, match=why):
        encode(value, MOST)


def test_a_number_with_too_many_digits_is_refused():
    with pytest.raises(NotJson, match="cannot be encoded"):
        encode(10**5000, MOST)


def test_a_value_in_itself_and_a_tower_of_shared_lists_end_quickly():
    ring: list = []
    ring.append(ring)
    with pytest.raises(NotJson, match="contains itself"):
        encode(ring, 2**23)
    tower: list = ["laugh"]
    for _ in range(40):
        tower = [tower] * 10
    with pytest.raises(NotJson, match="larger"):
        encode(tower, MOST)
    deep: list = []
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    with pytest.raises(NotJson, match="deeper"):
        encode(deep, MOST)


def test_a_heavy_value_is_handed_on_before_time_is_spent_on_it():
    with pytest.raises(Heavy):
        encode(list(range(3000)), MOST * 10, 2000)
    assert encode("x" * 5000, MOST, 2000).value == "x" * 5000


# Manifests


def test_all_faults_of_a_manifest_are_told_at_once():
    with pytest.raises(BadManifest) as told_at_once:
        checked({"version": 1, "keywords": "abc", "intents": ["a b"], "colour": "red"}, name="x", timeout_s=1.0)
    for part in ("PLUGIN.version", "PLUGIN.keywords", "PLUGIN.intents.0", "PLUGIN.colour"):
        assert part in str(told_at_once.value)


def test_a_manifest_may_use_tuples_and_leave_everything_out():
    manifest = checked({"keywords": ("a", "b"), "timeout_s": 3}, name="x", timeout_s=1.0)
    assert (manifest.name, manifest.keywords, manifest.timeout_s) == ("x", ("a", "b"), 3.0)
    assert checked({}, name="y", timeout_s=2.0).effects == "pure"


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({"effects": "none"}, "PLUGIN.effects"),
        ({"isolation": "sandbox"}, "not there yet"), ({"timeout_s": 0}, "timeout_s"), ({"name": "../x"}, "PLUGIN.name"),
        ([], "must be a dict"), ({"config": {"type": 5}}, "no JSON Schema"), ({"description": {1}}, "description"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_with_its_reason(raw, why):
    """X-12: an effect that does not say how it is undone cannot be enabled."""
    with pytest.raises(BadManifest, match=why):
        checked(raw, name="x", timeout_s=1.0)


@pytest.mark.parametrize(("effects", "hook"), [("deferred", "release"), ("compensated", "undo")])
def test_effects_that_do_not_say_how_they_are_undone_are_not_enabled(effects, hook):
    """X-12."""
    manifest = checked({"effects": effects}, name="x", timeout_s=1.0)
    with pytest.raises(BadManifest, match=f"`{hook}\\(request\\)`"):
        check_undone(manifest, {"handle"})
    check_undone(manifest, {"handle", hook})


@pytest.mark.parametrize("effects", ["pure", "versioned"])
def test_effects_that_only_add_need_no_way_back_of_their_own(effects):
    check_undone(checked({"effects": effects}, name="x", timeout_s=1.0), {"handle"})


def test_peeking_reads_literals_and_runs_nothing():
    source = b"import os\nPLUGIN = {'name': 'n', 'isolation': 'process', 'version': os.abort(), **{}}\n"
    assert peek(source) == {"name": "n", "isolation": "process"}
    assert peek(b"PLUGIN: dict = {'name': 'n'}") == {"name": "n"}
    for nothing in (b"", b"def (", b"\x00", b"\xff\xfe", b"PLUGIN = 5", b"(" * 5000):
        assert peek(nothing) == {}


def test_a_class_may_declare_by_its_attributes_and_plugin_wins():
    attributes = b"class Plugin:\n    keywords = ['greet']\n    isolation: str = 'process'\n    other = 1\n"
    assert peek(attributes) == {"keywords": ["greet"], "isolation": "process"}
    assert peek(attributes + b"PLUGIN = {'name': 'n'}") == {"name": "n"}
    assert set(DECLARED) == set(Manifest.model_fields)


def test_settings_are_checked_against_the_plugins_schema_and_completed():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "default": 3}, "s": {"type": "string"}}}
    manifest = checked({"config": {**schema, "additionalProperties": False}}, name="x", timeout_s=1.0)
    assert configured(manifest, {"s": "t"}) == {"n": 3, "s": "t"}
    with pytest.raises(BadManifest, match=r"(?s)plugins\.x.*zz.*n: 'many'"):
        configured(manifest, {"n": "many", "zz": 1})


def test_a_schema_fetches_nothing():
    manifest = checked({"config": {"$ref": "http://127.0.0.1:9/schema.json"}}, name="x", timeout_s=1.0)
    with pytest.raises(BadManifest, match="refers to what it does not hold"):
        configured(manifest, {})


# Hooks


def module(source: str, root: str = "orchestrator_plugin_t_0") -> ModuleType:
    made = ModuleType(root)
    exec(source, vars(made))
    return made


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def handle(request): return 1", {"handle"}),
        ("def handle(): return 1", {"handle"}),
        ("async def handle(request, more=1): return 1\ndef init(manager): pass", {"handle", "init"}),
        ("def handle(request): return 1\ndef close(): pass", {"handle", "close"}),
        ("def route(candidates): return None", {"route"}),
    ],
)  # fmt: skip
def test_plain_functions_are_hooks(source, names):
    """R2-10: sync and async, with the parameters that they need."""
    assert hooks_of(module(source), "orchestrator_plugin_t_0").keys() == names


def test_methods_of_a_class_and_marked_functions_are_hooks():
    class Plugin:
        def __init__(self):
            self.n = 2

        def handle(self, request):
            return self.n

        @staticmethod
        def route(request, candidates):
            return None

    found = hooks_of(Plugin(), "other")
    assert found["handle"]({"request": 1}) == 2
    assert found["route"]({"request": 1, "candidates": []}) is None
    foreign = ModuleType("orchestrator_plugin_t_0")
    foreign.handle = hookimpl(lambda request: 7)
    assert hooks_of(foreign, "orchestrator_plugin_t_0")["handle"]({"request": 1}) == 7


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def handle(req): return 1", "hooks are `init.manager.`"),
        ("def handle(*, request): return 1", "cannot be called"),
        ("from os.path import join as handle", "no function of this plugin"),
        ("handle = 5", "no function of this plugin"),
        ("x = 1", "defines neither"),
        ("def hook(f):\n f.orchestrator_impl = {}\n return f\n@hook\ndef handel(request): pass", "handel"),
    ],
)
def test_what_is_no_hook_is_told_with_what_mends_it(source, why):
    with pytest.raises(BadHooks, match=why):
        hooks_of(module(source), "orchestrator_plugin_t_0")


# Faults


def raised(fault: BaseException):
    return told("p", fault, lambda module, line: "")


def test_a_refusal_becomes_a_422_with_its_code_and_members():
    fault = raised(Refused("cannot_generate", "no such program", nearest=["a"], status=200, title="forged"))
    assert isinstance(fault, Invalid)
    assert (fault.status, fault.code, fault.detail) == (422, "cannot_generate", "no such program")
    assert fault.extra == {"nearest": ["a"]}
    assert raised(Refused("not a code\n", "x")).code == "invalid"
    assert isinstance(raised(Refused("c", "x", member=object())), PluginFailed)


def test_the_daemons_own_faults_pass_and_others_lose_their_text():
    """R2-24: what a client reads holds no text of the exception, no path and no traceback."""
    engine = Unavailable("no engine")
    assert raised(engine) is engine
    fault = raised(FileNotFoundError(2, "missing", "/etc/secret"))
    assert isinstance(fault, PluginFailed)
    assert fault.detail == "the plugin p raised FileNotFoundError"
    assert "/etc/secret" in (fault.traceback or "")
    assert raised(SystemExit(3)).detail == "the plugin p left by SystemExit"


def test_a_hostile_text_does_not_hide_the_fault():
    class Nasty(Exception):
        def __str__(self):
            raise SystemExit

    assert described(Nasty()) == "Nasty: (its text cannot be had)"
    assert described(ValueError("a\nb\x1b[31m")) == "ValueError: a b [31m"


def test_a_missing_module_is_named_with_what_mends_it():
    missing = ModuleNotFoundError("No module named 'numpy.linalg'", name="numpy.linalg")
    assert "pip install numpy`" in import_advice(missing, "p")
    assert "from . import" in import_advice(ModuleNotFoundError("no", name="p"), "p")
    assert import_advice(SyntaxError("invalid syntax", ("p.py", 7, 1, "x")), "p") == "line 7: invalid syntax"


# Frames


async def fed(data: bytes, most: int = 1000):
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_frame(reader, most)


async def test_frames_that_end_or_lie_are_found_out():
    assert await fed(b"") is None
    assert await fed(b"\x00\x00\x00\x05{}") is None
    assert await fed(b"\x00\x00\x00\x02{}") == {}
    for bad in (b"\x7f\xff\xff\xff", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x02{x", b"\x00\x00\x00\x01\xff"):
        with pytest.raises(BadFrame):
            await fed(bad)


def test_faults_cross_the_channel_and_forged_ones_do_not():
    fault = fault_from_json(fault_to_json(TooMany("full", retry_after_s=3)))
    assert isinstance(fault, TooMany)
    assert fault.headers == {"Retry-After": "3"}
    forged = fault_from_json({"kind": "StartRefused", "detail": "x", "headers": {"Set-Cookie": "a"}})
    assert isinstance(forged, PluginFailed)
    assert not isinstance(forged, StartRefused)
    assert fault_from_json([]).status == 502
    assert "Set-Cookie" not in fault_from_json({"kind": "Invalid", "headers": {"Set-Cookie": "a"}}).headers


def test_a_childs_output_is_bounded_a_minute():
    clock = FakeClock()
    allowance = Allowance(20, clock)
    assert allowance.take("0123456789") == "0123456789"
    assert "left out" in (allowance.take("0123456789") or "")
    assert allowance.take("x") is None
    clock.advance(60)
    assert allowance.take("x") == "x"


# Switches


def test_disabled_plugins_are_kept_and_a_broken_file_stops_the_start(tmp_path):
    switches = Switches(tmp_path / "state")
    switches.load()
    switches.set("a", off=True)
    switches.set("b", off=True)
    switches.set("b", off=False)
    again = Switches(tmp_path / "state")
    again.load()
    assert (again.is_off("a"), again.is_off("b")) == (True, False)
    for damaged in ("{", "[]", '{"disabled": 5}', '{"disabled": [1]}'):
        (tmp_path / "state" / "plugins.json").write_text(damaged)
        with pytest.raises(StartRefused, match="mend it"):
            Switches(tmp_path / "state").load()
