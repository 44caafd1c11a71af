"""`python -m tests.benchmarks [NAME ...]`: run the benchmarks and print their tables."""

import asyncio
import sys

from orchestrator.kernel import logs
from tests.benchmarks import audit, bus, cells, conditions, executions, governor, queries, reloads, stores, sustained

BENCHMARKS = {
    "queries": queries.measure,
    "executions": executions.measure,
    "cells": cells.measure,
    "sustained": sustained.measure,
    "reloads": reloads.measure,
    "bus": bus.measure,
    "governor": governor.measure,
    "audit": audit.measure,
    "conditions": conditions.measure,
    "stores": stores.measure,
}


async def main(names: list[str]) -> None:
    logs.configure("error")
    for name in names or BENCHMARKS:
        async for line in BENCHMARKS[name]():
            print(line, flush=True)
        print(flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
