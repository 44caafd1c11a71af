"""`orchestrator sandbox …`."""

from datetime import UTC, datetime
from typing import Any

import typer

from orchestrator.cli import client
from orchestrator.cli.options import AsJson
from orchestrator.cli.output import show, table
from orchestrator.kernel.readings import Readings

app = typer.Typer(help="See what the sandbox runs, how it does, and what it can run.", no_args_is_help=True)

_UNDER_WAY = ("queued", "running")
_PREFIX = "orchestrator_sandbox_"


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="sandbox")


@app.command()
def ps(as_json: AsJson = False) -> None:
    """What runs and waits: executions and sessions, newest first.

    Example: orchestrator sandbox ps
    """
    now = datetime.now(UTC)
    executions = client.call("GET", "/v1/sandbox/executions?limit=1000")["items"]
    rows = [_row(item, now, item.get("isolation")) for item in executions if item["status"] in _UNDER_WAY]
    sessions = client.call("GET", "/v1/sandbox/sessions?limit=1000")["items"]
    rows += [_row(item, now, "session") for item in sessions if item["status"] != "ended"]
    table(rows, ["id", "age_s", "owner", "status", "language", "isolation", "subject"], as_json)


@app.command()
def stats(as_json: AsJson = False) -> None:
    """How much runs, waits and is ready; where workers came from; what waiting, starting and killing take.

    Example: orchestrator sandbox stats --json
    """
    found = figures(Readings(client.text("/metrics")))
    if as_json:
        show(found, True)
    else:
        table([{"what": name, "is": value} for name, value in found.items()], ["what", "is"], False)


@app.command()
def profiles(as_json: AsJson = False) -> None:
    """What code can be run on: languages, limits, modules, and whether the image is there.

    Example: orchestrator sandbox profiles
    """
    items = client.call("GET", "/v1/sandbox/profiles?limit=1000")["items"]
    for item in items if not as_json else ():
        item["memory_bytes"] = f"{item['default']['memory_bytes']:,} to {item['maximum']['memory_bytes']:,}"
        item["wall_ms"] = f"{item['default']['wall_ms']:,} to {item['maximum']['wall_ms']:,}"
    table(
        items, ["name", "language", "available", "memory_bytes", "wall_ms", "kernel_boundary", "description"], as_json
    )


def figures(read: Readings) -> dict[str, float | None]:
    """The figures of the sandbox, by name; durations in milliseconds, None where there was nothing yet."""
    counts = {source: read.value(f"{_PREFIX}workers_total", source=source) or 0 for source in ("armed", "cell", "cold")}
    taken = sum(counts.values())
    found: dict[str, float | None] = {
        name: read.value(_PREFIX + name)
        for name in ("ready", "slots", "running", "queued", "armed", "armed_wanted", "cells")
    }
    found |= {f"served_{source}": count for source, count in counts.items()}
    found["hit_rate"] = round(1 - counts["cold"] / taken, 4) if taken else None
    for name in ("armed_age", "refill", "start", "kill"):
        for share in (0.5, 0.99):
            seconds = read.quantile(f"{_PREFIX}{name}_seconds", share)
            found[f"{name}_p{share * 100:.0f}_ms"] = None if seconds is None else round(seconds * 1e3, 1)
    found["reaped"] = read.value(f"{_PREFIX}reaped_total")
    return found


def _row(item: dict[str, Any], now: datetime, isolation: str | None) -> dict[str, Any]:
    age = now - datetime.fromisoformat(item["created_at"])
    return {**item, "age_s": round(age.total_seconds(), 1), "isolation": isolation}
