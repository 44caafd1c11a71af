"""Structured logs: one event name and its fields, JSON for the journal, coloured lines on a terminal."""

import logging
import sys
from typing import Any, TextIO

import structlog


def configure(level: str = "info", style: str = "auto", stream: TextIO | None = None) -> None:
    """Send all logs, those of libraries too, to `stream` (default: stderr).

    `style` is `json`, `pretty` or `auto`, which is pretty on a terminal.
    """
    out = stream or sys.stderr
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
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
