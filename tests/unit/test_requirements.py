"""`tests/requirements.md` and the tests are in step."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
NUMBER = re.compile(r"\bR\d-\d\d\b")


def test_every_requirement_that_is_served_is_named_by_a_test() -> None:
    served = (TESTS / "requirements.md").read_text().split("## Later")[0]
    named = {n for file in TESTS.rglob("test_*.py") if file != Path(__file__) for n in NUMBER.findall(file.read_text())}
    assert sorted(set(NUMBER.findall(served)) - named) == []
