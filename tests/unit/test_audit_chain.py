"""The hash chain: any row changed, dropped, added or moved is found."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.audit import chain


def rows(count: int) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    prev = chain.GENESIS
    for seq in range(1, count + 1):
        row: dict[str, Any] = {
            "seq": seq, "time": f"t{seq}", "actor": "a", "action": "query.completed", "subject": None, "outcome": "ok",
            "approval_id": None, "data": "{}", "prev_hash": prev,
        }  # fmt: skip
        row["hash"] = prev = chain.link(row, prev)
        made.append(row)
    return made


def walked(made: list[dict[str, Any]]) -> tuple[int | None, str, int]:
    return chain.first_bad([tuple(row[name] for name in chain.COLUMNS) for row in made])


def test_an_untouched_chain_is_good() -> None:
    bad, last, following = walked(rows(10))
    assert (bad, following) == (None, 11)
    assert last == rows(10)[-1]["hash"]


@given(st.integers(1, 10), st.sampled_from([*chain.FIELDS, "hash", "prev_hash"]))
def test_a_changed_field_is_found_where_it_was_changed(at: int, name: str) -> None:
    made = rows(10)
    made[at - 1][name] = 77 if name == "seq" else "changed"
    assert walked(made)[0] == at


@pytest.mark.parametrize("at", [0, 4, 8])
def test_a_dropped_row_is_found(at: int) -> None:
    made = rows(10)
    del made[at]
    assert walked(made)[0] == at + 1


def test_two_rows_that_changed_places_are_found() -> None:
    made = rows(10)
    made[3], made[4] = made[4], made[3]
    assert walked(made)[0] == 4
