"""`python -m tests.campaigns NAME [FILE]`: run one campaign at its full size; exit 1 where a bound is broken."""

import asyncio
import dataclasses
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.kernel import logs
from tests.campaigns import crashes, flood, guards, hostile, humaneval, kills, mixed, model, races
from tests.campaigns.report import Report
from tests.own_postgres import running_server

CAMPAIGNS: dict[str, Callable[..., Awaitable[Report]]] = {
    "hostile": hostile.campaign,
    "crashes": crashes.campaign,
    "flood": flood.campaign,
    "mixed": mixed.campaign,
    "kills": kills.campaign,
    "guards": guards.campaign,
    "races": races.campaign,
    "model": model.campaign,
}
ON_BOTH_DATABASES = {"races", "model"}


async def main(words: list[str]) -> int:
    logs.configure("error")
    if len(words) == 2 and words[0] == "humaneval":
        began, report = time.monotonic(), await humaneval.campaign(Path(words[1]))
    elif len(words) == 1 and words[0] in CAMPAIGNS:
        began, report = time.monotonic(), await CAMPAIGNS[words[0]]()
        if words[0] in ON_BOTH_DATABASES:
            report.figures += (await _on_postgres(words[0])).figures
    else:
        print(f"one campaign is wanted: {', '.join(CAMPAIGNS)}, or humaneval FILE", file=sys.stderr)
        return 2
    for line in report.lines():
        print(line)
    print(f"{time.monotonic() - began:.0f} s; {'every bound holds' if report.holds else 'a bound is broken'}")
    return 0 if report.holds else 1


async def _on_postgres(name: str) -> Report:
    with running_server() as server:
        async with server.database() as database:
            report = await CAMPAIGNS[name](storage__url=server.url(database))
    report.figures = [dataclasses.replace(figure, what=f"{figure.what}, PostgreSQL") for figure in report.figures]
    return report


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
