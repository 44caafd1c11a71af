"""`python -m tests.benchmarks [NAME ...]`: run the benchmarks and print their tables."""

import asyncio
import sys

from tests.benchmarks import queries

BENCHMARKS = {"queries": queries.measure}


async def main(names: list[str]) -> None:
    for name in names or BENCHMARKS:
        async for line in BENCHMARKS[name]():
            print(line, flush=True)
        print(flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
