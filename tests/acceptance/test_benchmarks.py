"""The benchmarks run: a short round of each, without a word about how fast (speed is no matter for tests)."""

import pytest

from tests.benchmarks import audit, bus, cells, conditions, executions, governor, queries, reloads, stores, sustained

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_the_table_of_queries_is_made_and_nothing_fails() -> None:
    lines = [line async for line in queries.measure(seconds=0.3, connections=4, rounds=1)]
    assert len(lines) == 5
    assert all(line.endswith(" 0") for line in lines[1:])


async def test_the_other_tables_are_made() -> None:
    tables = (
        (reloads.measure, 2, 2), (bus.measure, 200, 3), (conditions.measure, 1, 17), (stores.measure, 0.1, 3),
        (audit.measure, 1000, 3), (governor.measure, 2, 7),
    )  # fmt: skip
    for measure, arguments, rows in tables:
        assert len([line async for line in measure(arguments)]) == rows


async def test_the_tables_of_executions_are_made_and_nothing_fails() -> None:
    """Without the peers, which are installed for `make bench` alone."""
    lines = [line async for line in executions.measure(1, peers=False)]
    assert lines[1].startswith("bare /usr/bin/python3")
    assert lines[2].startswith("container, over HTTP")
    for made in (cells.measure(0.3, each=4, rounds=1), sustained.measure(1, rounds=1, warm_s=0)):
        assert [line async for line in made][-1].split() == ["failed", "0"]
