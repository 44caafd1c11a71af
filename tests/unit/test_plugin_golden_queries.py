"""The golden queries go where they should, by the shipped keywords, denied groups and word boundaries (R2-07)."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.contracts.errors import OrchestratorError
from orchestrator.contracts.queries import QueryRequest
from orchestrator.routing.router import Router
from orchestrator.routing.settings import RoutingSettings

ROOT = Path(__file__).parents[2]
ROWS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "example_queries.json").read_text(encoding="utf-8"))


def declared(name: str) -> SimpleNamespace:
    spec = importlib.util.spec_from_file_location(f"golden_{name}", ROOT / "plugins" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plugin = module.PLUGIN
    return SimpleNamespace(
        name=name, state="active", handles=True, intents=plugin["intents"], keywords=plugin["keywords"]
    )


@pytest.fixture(scope="module")
def router() -> Router:
    return Router({name: declared(name) for name in ("universal_developer", "guide")}, RoutingSettings())


def test_there_are_enough_golden_queries_and_each_says_what_is_expected() -> None:
    assert len(ROWS) >= 25
    for row in ROWS:
        assert row.keys() <= {"text", "intent", "params", "plugin", "status", "code", "by"}
        assert row["status"] in (200, 403, 422)
        assert ("code" in row) == (row["status"] != 200)
        assert ("by" in row) == (row["plugin"] is not None)


@pytest.mark.parametrize("row", ROWS, ids=[row["text"][:40] for row in ROWS])
async def test_a_golden_query_goes_where_it_should(router: Router, row: dict[str, Any]) -> None:
    """R2-07: intent first, then keywords on word boundaries; offensive security refused; evolving has no route yet."""
    request = QueryRequest(text=row["text"], intent=row.get("intent"), params=row.get("params", {}))
    if row["plugin"] is None:
        with pytest.raises(OrchestratorError) as refused:
            await router.route(request, None)
        assert (refused.value.status, refused.value.code) == (row["status"], row["code"])
    else:
        plugin, route = await router.route(request, None)
        assert (plugin, route.by) == (row["plugin"], row["by"])
