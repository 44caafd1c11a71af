"""The house stands: imports go down only, nothing hides inside functions, each library lives in its room (DESIGN 2)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "orchestrator"
FLOORS = {
    "kernel": 0,
    "bootstrap": 0,
    "sdk": 1,
    "contracts": 1,
    "bus": 2,
    "storage": 2,
    "audit": 3,
    "sandbox": 3,
    "plans": 3,
    "host": 4,
    "governance": 5,
    "routing": 6,
    "api": 7,
    "config": 8,
    "daemon": 9,
    "cli": 10,
    "testing": 10,
    "brain": 11,
    "workflows": 11,
    "docker_manager": 10,
    "__main__": 11,
}
HOMES = {
    "docker": {"sandbox"},
    "pluggy": {"host"},
    "watchfiles": {"host"},
    "alembic": {"storage"},
    "rfc8785": {"plans"},
    "asyncpg": {"storage"},
    "typer": {"cli"},
    "rich": {"cli", "testing"},
    "prometheus_client": {"kernel"},
    "structlog": None,
    "sqlalchemy": {"storage", "audit", "governance", "routing", "api"},
    "aiohttp": {"api", "brain", "cli", "daemon", "testing", "workflows"},
}


def breaches(source: str, room: str) -> Iterator[str]:
    """All imports of one module that the ladder forbids, each as a sentence."""
    tree = ast.parse(source)
    nested = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if node.level == 0 else ["orchestrator." + room]
        else:
            continue
        if id(node) in nested:
            yield f"{room}: hidden import of {names[0]} inside a function"
        for name in names:
            top, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if top == "orchestrator" and target and target != room and FLOORS[target] >= FLOORS[room]:
                yield f"{room} (floor {FLOORS[room]}) imports {target} (floor {FLOORS[target]})"
            if HOMES.get(top) is not None and room not in HOMES[top]:
                yield f"{room} imports {top}, which lives in {sorted(HOMES[top])}"
            if room == "bootstrap" and top == "orchestrator" and target != "bootstrap":
                yield f"bootstrap is standard library only, and imports {name}"


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


def test_imports_go_down_only() -> None:
    found = [f"{p.relative_to(PACKAGE)}: {b}" for p in modules() for b in breaches(p.read_text(), room_of(p))]
    assert found == []


@pytest.mark.parametrize(
    ("room", "planted"),
    [
        ("storage", "from orchestrator.api import app"),
        ("audit", "import orchestrator.sandbox.port"),
        ("routing", "import docker"),
        ("host", "def f():\n    import json"),
        ("bootstrap", "from orchestrator.kernel import ids"),
    ],
)
def test_a_planted_breach_is_caught(room: str, planted: str) -> None:
    assert list(breaches(planted, room))


def test_every_room_has_a_floor_and_a_docstring() -> None:
    rooms = {room_of(p) for p in modules()}
    assert rooms <= set(FLOORS)
    for init in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text())), f"{init} says nothing of itself"


def test_no_drawer_for_odds_and_ends() -> None:
    names = {p.stem for p in modules()}
    assert not names & {"utils", "util", "helpers", "common", "misc"}


def test_no_file_is_too_long_to_read() -> None:
    root = PACKAGE.parent
    files = [*PACKAGE.rglob("*.py"), *(root / "plugins").rglob("*.py"), *(root / "sandbox_images").rglob("*.py")]
    long = {str(p.relative_to(root)): n for p in files if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}
