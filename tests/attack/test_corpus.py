"""The abuse corpus, executed: each case in a reused cell and in a container of its own (R2-17, CONTRACT 4).

The cases are data in `orchestrator/sandbox/abuse`; `orchestrator doctor --attack` runs the same ones on another host.
"""

import pytest

from orchestrator.sandbox.abuse import corpus


@pytest.mark.engine
@pytest.mark.asyncio(loop_scope="module")
async def test_attack(ahead, trial, round_):
    """R2-17: every verdict is right, and a clean job runs afterwards."""
    found = (await ahead.finding(trial, round_)).differences
    assert not found, "\n".join(found)


def test_the_corpus_is_as_large_as_was_promised():
    """ABUSE: 400 and more executed cases, no two of one name; every theme is there."""
    cases = corpus.load()
    assert len({str(case) for case in cases}) == len(cases)
    assert sum(not case.refused for case in cases) >= 420
    assert {case.theme for case in cases} >= {
        "artifacts", "calls", "disk", "javascript", "kernel", "memory", "network", "output", "poisoning", "processes",
        "requests", "shell", "time",
    }  # fmt: skip
