"""The guide answers from the README files, by section, and says no where none fits (R2-07)."""

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from orchestrator.sdk import Refused

FILE = Path(__file__).parents[2] / "plugins" / "guide.py"

README = """# Widget server

Serves widgets to everyone who asks.

## Architecture

Rooms on floors; a query goes from the door to a plugin.

```
# not a heading
```

## Writing plugins

Put one file into the folder. New ones are found at once.

### Isolation

Code runs in a container without a network.

## Empty
"""


@pytest.fixture
def guide() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guide_under_test", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ready(guide: ModuleType, root: Path, readme: str | None = README) -> ModuleType:
    if readme is not None:
        (root / "README.md").write_text(readme, encoding="utf-8")
    guide.init(SimpleNamespace(config={"root": str(root)}))
    return guide


def ask(guide: ModuleType, text: str) -> Any:
    return guide.handle({"text": text, "intent": None, "params": {}})


@pytest.mark.parametrize(
    ("question", "heading"),
    [
        ("what is the architecture of this system?", "Architecture"),
        ("how do I add a plugin?", "Writing plugins"),
        ("how is code isolated?", "Isolation"),
        ("WRITING PLUGINS", "Writing plugins"),
        ("what is this project?", "Widget server"),
    ],
)
def test_a_question_finds_its_section(guide: ModuleType, tmp_path: Path, question: str, heading: str) -> None:
    """R2-07: the architecture question goes to a general plugin."""
    answer = ask(ready(guide, tmp_path), question)
    assert (answer["section"], answer["source"]) == (heading, "README.md")
    assert answer["answer"] in README


def test_a_mark_inside_a_fenced_block_is_text(guide: ModuleType) -> None:
    found = list(guide.sections("README.md", README))
    assert [section.heading for section in found] == ["Widget server", "Architecture", "Writing plugins", "Isolation"]
    assert "# not a heading" in found[1].text


@pytest.mark.parametrize("question", ["what is the capital of France?", "…", "what?", "x" * 32_768, "is " * 10_000])
def test_a_question_that_no_section_knows_is_refused(guide: ModuleType, tmp_path: Path, question: str) -> None:
    with pytest.raises(Refused) as refused:
        ask(ready(guide, tmp_path), question)
    assert refused.value.code == "cannot_answer"


@pytest.mark.parametrize("readme", [None, "", "## \n\n#\n", "```\nnever closed"])
def test_a_missing_or_empty_readme_is_no_fault(guide: ModuleType, tmp_path: Path, readme: str | None) -> None:
    with pytest.raises(Refused):
        ask(ready(guide, tmp_path, readme), "what is the architecture?")


def test_a_question_before_init_is_refused(guide: ModuleType) -> None:
    with pytest.raises(Refused):
        ask(guide, "what is the architecture of this system?")


def test_the_answer_names_the_nearest_heading_and_both_files_are_read(guide: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "orchestrator").mkdir()
    (tmp_path / "orchestrator" / "README.md").write_text(
        "# House\n\n## Bus\n\nTells many listeners.\n", encoding="utf-8"
    )
    answer = ask(ready(guide, tmp_path), "what does the bus tell listeners?")
    assert answer == {"answer": "Tells many listeners.", "section": "Bus", "source": "orchestrator/README.md"}


def test_a_long_section_is_cut_between_paragraphs(guide: ModuleType, tmp_path: Path) -> None:
    answer = ask(ready(guide, tmp_path, "# Architecture\n\n" + "word word.\n\n" * 2000), "architecture")
    assert len(answer["answer"]) <= guide.LONGEST + 10
    assert answer["answer"].endswith("word word.\n\n…")


def test_the_shipped_readmes_know_the_architecture(guide: ModuleType) -> None:
    guide.init(SimpleNamespace(config={}))
    assert ask(guide, "what is the architecture of this system?")["source"].endswith("README.md")
