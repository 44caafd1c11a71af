"""Logs: lines that are lost stop nothing, and are said to be lost."""

import io
import json

import structlog

from orchestrator.kernel import logs


class Cut(io.StringIO):
    """A pipe whose reader has gone, and comes back."""

    broken = False

    def write(self, text: str) -> int:
        if self.broken:
            raise BrokenPipeError
        return super().write(text)


def test_a_line_that_nobody_takes_stops_nothing_and_is_said_to_be_lost() -> None:
    """A closed terminal or a full disk is no reason to stop what is logged."""
    out = Cut()
    logs.configure("info", "json", out)
    log = structlog.get_logger("test")
    log.info("one")
    out.broken = True
    log.info("two")
    log.info("three")
    out.broken = False
    log.info("four")
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [entry["event"] for entry in told] == ["one", "logs.lost", "four"]
    assert told[1]["lines"] == 2


def test_a_closed_stream_stops_nothing() -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    out.close()
    structlog.get_logger("test").error("unheard", exc_info=ValueError("on purpose"))


def test_lines_go_where_standard_error_is_at_the_time(capsys) -> None:
    logs.configure("info", "json")
    structlog.get_logger("test").info("heard")
    assert json.loads(capsys.readouterr().err)["event"] == "heard"
