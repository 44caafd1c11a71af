"""The benchmarks run: a short round of each, without a word about how fast (speed is no matter for tests)."""

import pytest

from tests.benchmarks import bus, executions, queries, reloads

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_the_table_of_queries_is_made_and_nothing_fails() -> None:
    lines = [line async for line in queries.measure(seconds=0.3, connections=4)]
    assert len(lines) == 5
    assert all(line.endswith(" 0") for line in lines[1:])


async def test_the_other_tables_are_made() -> None:
    for measure, arguments, rows in ((executions.measure, 1, 4), (reloads.measure, 2, 2), (bus.measure, 200, 3)):
        assert len([line async for line in measure(arguments)]) == rows
