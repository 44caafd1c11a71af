"""That the list of guards names what is in the code; what happens without each is `make campaign NAME=guards`."""

import pytest

from orchestrator.config.places import ROOT
from tests.campaigns.guards import GUARDS


@pytest.mark.parametrize("guard", GUARDS, ids=[guard.what for guard in GUARDS])
def test_a_guard_is_where_the_list_says(guard):
    """REQUIREMENTS 3.3 "Mutation check"."""
    assert guard.count(ROOT) == 1
    assert all((ROOT / file).is_file() for file in guard.tests)
