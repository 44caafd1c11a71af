"""Server-sent events are read line by line."""

import pytest

from orchestrator.cli.streams import events

FRAMES = b': stream\n\nid: 1\nevent: stdout\ndata: {"data": "a\xe2\x82\xac"}\n\nevent: result\ndata: {"n": 1}\n\n'


def read(text: bytes) -> list[tuple[str, object]]:
    return list(events(text.splitlines(keepends=True)))


def test_each_event_comes_with_its_name_and_its_json():
    assert read(FRAMES) == [("stdout", {"data": "a€"}), ("result", {"n": 1})]


def test_comments_and_events_without_data_are_none_and_an_unnamed_one_is_a_message():
    assert read(b": alive\n\nevent: x\n\ndata:1\n\n") == [("message", 1)]


def test_an_event_that_never_ended_is_none():
    assert read(b'event: result\ndata: {"n": 1}\n') == []


def test_data_that_is_no_json_is_a_fault():
    with pytest.raises(ValueError, match="Expecting"):
        read(b"data: nonsense\n\n")
