"""Replay, timeline, sums, export and import of what was recorded (R1-23 to R1-27)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.plans import PlanEvent
from orchestrator.plans import archives
from orchestrator.plans.archives import exported, imported
from orchestrator.plans.canonical import canonical
from orchestrator.plans.history import EVENTS, Moment, of_plan, replay, stats, timeline
from tests.unit.plan_cases import event, numbered

RUN = numbered(
    event("plan_created", 0),
    event("execution_started", 1),
    event("step_started", 1, stepId="a"),
    event("step_completed", 2, stepId="a", status="completed"),
    event("step_started", 2, stepId="b"),
    event("step_failed", 2.25, stepId="b", status="failed", error="no"),
    event("execution_failed", 2.5),
)


def test_entries_are_those_of_one_plan_in_the_order_of_recording() -> None:
    """R1-23, R1-24: never in the order of clocks, which people set."""
    other = event("step_started", 1, n=9, plan_id="plan_2")
    mixed = [RUN[0], other, *RUN[1:]]
    assert of_plan(mixed, "plan_1") == RUN
    back = numbered(event("execution_started", 10), event("step_started", 3, stepId="a"))
    assert of_plan(back, "plan_1") == back


def test_a_replay_tells_each_entry_once_and_does_nothing_else() -> None:
    """R1-24."""
    heard: list[PlanEvent] = []
    assert replay([*RUN, event("plan_created", plan_id="plan_2", n=99)], "plan_1", heard.append) == len(RUN)
    assert heard == RUN
    assert set(heard[0].model_dump()) == {"id", "planId", "timestamp", "event", "data"}
    assert replay(RUN, "nobody", heard.append) == 0


def test_the_seeds_seven_events_are_known() -> None:
    """R1-23."""
    assert EVENTS == (
        "plan_created", "execution_started", "step_started", "step_completed", "step_failed", "execution_completed",
        "execution_failed",
    )  # fmt: skip


def test_a_timeline_says_how_long_what_ended_took() -> None:
    """R1-25."""
    assert [(m.event, m.duration) for m in timeline(RUN)] == [
        ("plan_created", 0), ("execution_started", 0), ("step_started", 0), ("step_completed", 1000), ("step_started", 0),
        ("step_failed", 250), ("execution_failed", 1500),
    ]  # fmt: skip
    assert timeline(RUN)[3].as_json() == {
        "timestamp": "2026-01-01T00:00:02.000Z",
        "event": "step_completed",
        "duration": 1000,
    }


def test_the_average_is_right_under_parallel_steps() -> None:
    """R1-26: three steps of 1, 2 and 3 s within 3 s; from one entry to the next it would be 0.5 s."""
    run = numbered(
        event("execution_started", 0),
        *(event("step_started", 0, stepId=name) for name in "abc"),
        *(event("step_completed", n, stepId=name) for n, name in enumerate("abc", 1)),
        event("execution_completed", 3),
    )
    found = stats(run)
    assert (found.average_step_duration, found.total_duration) == (2000, 3000)
    assert found.event_counts == {
        "execution_started": 1,
        "step_started": 3,
        "step_completed": 3,
        "execution_completed": 1,
    }
    assert found.as_json() == {
        "totalDuration": 3000, "averageStepDuration": 2000, "eventCounts": found.event_counts, "totalEvents": 8,
    }  # fmt: skip


def test_a_duration_that_was_measured_counts_more_than_clocks() -> None:
    """R1-26: the clock was set back meanwhile."""
    run = numbered(event("step_started", 100, stepId="a"), event("step_completed", 1, stepId="a", duration=12.5))
    assert stats(run).average_step_duration == 12.5
    unmeasured = numbered(event("step_started", 100, stepId="a"), event("step_completed", 1, stepId="a"))
    assert timeline(unmeasured)[1].duration == 0


@pytest.mark.parametrize("measured", [-1, "12", True, None, 1e300, [1]])
def test_a_duration_that_cannot_have_been_measured_does_not_count(measured: Any) -> None:
    run = numbered(event("step_started", 0, stepId="a"), event("step_completed", 1, stepId="a", duration=measured))
    assert stats(run).average_step_duration == 1000


def test_attempts_of_one_step_and_executions_of_one_plan_are_each_timed() -> None:
    """R1-35, R1-26."""
    run = numbered(
        event("execution_started", 0), event("step_started", 0, stepId="a"), event("step_failed", 1, stepId="a"),
        event("step_started", 6, stepId="a"), event("step_completed", 9, stepId="a"), event("execution_completed", 9),
        event("execution_started", 20), event("execution_failed", 21),
    )  # fmt: skip
    assert (stats(run).average_step_duration, stats(run).total_duration) == (2000, 10_000)


def test_an_end_without_a_beginning_is_no_average() -> None:
    assert stats([event("step_completed", 1, stepId="a")]).average_step_duration == 0
    assert stats([]).as_json() == {"totalDuration": 0, "averageStepDuration": 0, "eventCounts": {}, "totalEvents": 0}
    assert timeline([event("step_completed", 1)]) == [Moment("2026-01-01T00:00:01.000Z", "step_completed", 0)]


def test_an_export_is_canonical_json_and_imports_as_it_was() -> None:
    """R1-27."""
    text = exported(RUN, "plan_1")
    assert imported(text) == ("plan_1", RUN)
    assert exported(imported(text)[1], "plan_1") == text
    assert canonical(json.loads(text)) == text


def test_a_file_that_was_written_another_way_is_the_same_history() -> None:
    """R1-27: byte-equal after canonicalisation."""
    text = exported(RUN, "plan_1")
    pretty = json.dumps(json.loads(text), indent=2, sort_keys=False).encode()
    assert exported(imported(pretty)[1], "plan_1") == text


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53) + 1, 2**53 - 1)
DATA = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(DATA, max_size=5))
def test_any_data_comes_back_to_the_byte(data: list[Any]) -> None:
    """R1-27: among them doubles that canonical JSON writes as whole numbers."""
    run = numbered(
        *(PlanEvent(id="x", plan_id="p", timestamp="2026-01-01T00:00:00Z", event="noted", data=d) for d in data)
    )
    text = exported(run, "p")
    assert exported(imported(text)[1], "p") == text


def test_an_export_of_another_plans_entries_is_refused() -> None:
    with pytest.raises(Invalid, match="it is of the plan 'plan_1', not 'plan_2'"):
        exported(RUN, "plan_2")


def test_an_export_that_nobody_could_import_is_refused() -> None:
    run = numbered(*(event("noted", text="x" * 2**19) for _ in range(33)))
    with pytest.raises(Invalid, match="at most 16,777,216 bytes"):
        exported(run, "plan_1")


GOOD = json.loads(exported(RUN, "plan_1"))


def altered(at: int, **members: Any) -> Any:
    events = [dict(one) for one in GOOD["events"]]
    events[at] |= members
    return GOOD | {"events": events}


HOSTILE: dict[str, Any] = {
    "not JSON": b"{", "nothing": b"", "not UTF-8": b'"\xff"', "with a mark": b"\xef\xbb\xbf{}", "a list": b"[]", "null": b"null",
    "too deep": b"[" * 100_000, "NaN": b'{"version": NaN}', "infinite": b'{"version": -Infinity}', "too large": b" " * (16 * 2**20 + 1),
    "a member twice": b'{"version": 1, "version": 1, "planId": "p", "events": []}', "a huge number": b'{"version": ' + b"1" * 5000 + b"}",
    "no version": {k: v for k, v in GOOD.items() if k != "version"}, "a later version": GOOD | {"version": 2},
    "version true": GOOD | {"version": True}, "an unknown member": GOOD | {"code": "x"}, "no plan": GOOD | {"planId": ""},
    "a plan that is a path": GOOD | {"planId": "../x"}, "events no list": GOOD | {"events": {}}, "an event no object": GOOD | {"events": [1]},
    "another plan's entry": altered(2, planId="plan_2"), "one id twice": altered(2, id="e1"), "an entry's unknown member": altered(2, then="x"),
    "a time that is none": altered(2, timestamp="now"), "a time without zone": altered(2, timestamp="2026-01-01T00:00:00"),
    "a name that is none": altered(2, event="Step Started"), "half a character": altered(2, data="\ud800"),
    "work after the end": GOOD | {"events": [*GOOD["events"], GOOD["events"][3] | {"id": "late"}]},
    "work before the beginning": GOOD | {"events": GOOD["events"][2:]}, "no data": GOOD | {"events": [{"id": "e"}]},
    "a number nobody keeps": exported(RUN, "plan_1").replace(b'"stepId":"a"', b'"stepId":9007199254740993'),
    "data too deep": altered(2, data=json.loads("[" * 70 + "]" * 70)), "data infinite": json.dumps(GOOD).replace('"no"', "1e999").encode(),
}  # fmt: skip


@pytest.mark.parametrize("file", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_with_what_is_wrong(file: Any) -> None:
    """R1-27."""
    text = file if isinstance(file, bytes) else json.dumps(file).encode()
    with pytest.raises(Invalid) as caught:
        imported(text)
    assert caught.value.code == "history_invalid"
    assert caught.value.errors
    assert len(caught.value.errors) <= 50


def test_a_file_with_too_many_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_EVENTS", 3)
    with pytest.raises(Invalid, match="at most 3 entries"):
        imported(canonical(GOOD))
