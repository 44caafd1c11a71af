"""Structured logs: one event name and its fields, JSON for the journal, coloured lines on a terminal."""

import json
import logging
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog


def configure(level: str = "info", style: str = "auto", stream: TextIO | None = None) -> None:
    """Send all logs, those of libraries too, to `stream` (default: stderr, whatever that is at the time).

    `style` is `json`, `pretty` or `auto`, which is pretty on a terminal.
    """
    out = _Lossy(stream)
    pretty = style == "pretty" or (style == "auto" and out.isatty())
    threshold = getattr(logging, level.upper())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, out)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


class _Lossy:
    """A stream that takes what it can: a closed terminal or a full disk must not stop the work that is logged.

    What is lost is counted, and said as soon as there is somebody to hear it.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> None:
        out = self._stream or sys.stderr
        told = json.dumps({"event": "logs.lost", "lines": self._lost, "level": "error"}) + "\n" if self._lost else ""
        try:
            out.write(told + text)
            out.flush()
            self._lost = 0
        except (OSError, ValueError):  # a broken pipe, a full disk; a closed file
            self._lost += 1

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            (self._stream or sys.stderr).flush()

    def isatty(self) -> bool:
        return (self._stream or sys.stderr).isatty()
