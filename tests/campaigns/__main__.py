"""`python -m tests.campaigns NAME [FILE]`: run one campaign at its full size; exit 1 where a bound is broken."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.kernel import logs
from tests.campaigns import crashes, flood, hostile, humaneval, mixed
from tests.campaigns.report import Report

CAMPAIGNS: dict[str, Callable[[], Awaitable[Report]]] = {
    "hostile": hostile.campaign,
    "crashes": crashes.campaign,
    "flood": flood.campaign,
    "mixed": mixed.campaign,
}


async def main(words: list[str]) -> int:
    logs.configure("error")
    if len(words) == 2 and words[0] == "humaneval":
        began, report = time.monotonic(), await humaneval.campaign(Path(words[1]))
    elif len(words) == 1 and words[0] in CAMPAIGNS:
        began, report = time.monotonic(), await CAMPAIGNS[words[0]]()
    else:
        print(f"one campaign is wanted: {', '.join(CAMPAIGNS)}, or humaneval FILE", file=sys.stderr)
        return 2
    for line in report.lines():
        print(line)
    print(f"{time.monotonic() - began:.0f} s; {'every bound holds' if report.holds else 'a bound is broken'}")
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
