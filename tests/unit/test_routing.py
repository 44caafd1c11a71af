"""Where queries go: named plugin, intent, hook, keywords as whole words (R2-07)."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.contracts.errors import Forbidden, Invalid, NotFound, PluginFailed
from orchestrator.contracts.queries import Candidate, QueryRequest
from orchestrator.routing.ranking import KeywordIndex, score
from orchestrator.routing.router import Router
from orchestrator.routing.settings import RoutingSettings
from orchestrator.routing.words import words


@dataclass
class Plugin:
    name: str
    state: str = "active"
    intents: list[str] = field(default_factory=list)
    keywords: list[str] = field(default_factory=list)
    handles: bool = True


def router(*plugins: Plugin, **settings: object) -> Router:
    return Router({p.name: p for p in plugins}, RoutingSettings(**settings))


CODER = Plugin("coder", intents=["generate_code"], keywords=["code", "function", "write a program"])
GUIDE = Plugin("guide", intents=["guide"], keywords=["architecture", "code style"])


async def by(r: Router, text: str = "hello", **fields: object) -> tuple[str, str]:
    name, route = await r.route(QueryRequest(text=text, **fields), None)
    return name, route.by


async def test_a_named_plugin_wins_over_everything() -> None:
    assert await by(router(CODER, GUIDE), "code", plugin="guide", intent="generate_code") == ("guide", "plugin")


async def test_an_intent_wins_over_keywords() -> None:
    """R2-07: the origin ignored it."""
    assert await by(router(CODER, GUIDE), "architecture", intent="generate_code") == ("coder", "intent")


async def test_an_intent_that_nobody_has_is_no_route_though_keywords_fit() -> None:
    with pytest.raises(Invalid) as caught:
        await by(router(CODER), "code", intent="generate_cod")
    assert caught.value.code == "no_route"


async def test_of_two_with_an_intent_the_words_decide() -> None:
    other = Plugin("a_coder", intents=["generate_code"], keywords=["poem"])
    assert await by(router(other, CODER), "a function", intent="generate_code") == ("coder", "intent")
    assert await by(router(other, CODER), "anything", intent="generate_code") == ("a_coder", "intent")


async def test_a_hook_decides_before_keywords_and_sees_their_candidates() -> None:
    """Seed 002's consciousness_engine."""
    seen: list[Candidate] = []

    async def hook(request: QueryRequest, candidates: list[Candidate]) -> tuple[str, float]:
        seen.extend(candidates)
        return "guide", 0.9

    name, route = await router(CODER, GUIDE).route(QueryRequest(text="code"), hook)
    assert (name, route.by, route.score) == ("guide", "hook", 0.9)
    assert [c.plugin for c in seen] == ["coder"]


@pytest.mark.parametrize("text", ["decode this", "a barcode", "codes", "encode"])
async def test_keywords_are_whole_words(text: str) -> None:
    """R2-07."""
    with pytest.raises(Invalid):
        await by(router(CODER), text)


@pytest.mark.parametrize("text", ["CODE", "some code, please", "Write-a-program!", "ｃｏｄｅ", "(code)"])
async def test_case_and_punctuation_do_not_matter(text: str) -> None:
    assert (await by(router(CODER), text))[0] == "coder"


async def test_a_phrase_counts_as_its_words_and_more_words_win() -> None:
    name, route = await router(CODER, GUIDE).route(QueryRequest(text="what code style do you use"), None)
    assert name == "guide"
    assert [(c.plugin, c.score) for c in route.candidates] == [("guide", score(2)), ("coder", score(1))]


async def test_equal_scores_go_by_name() -> None:
    assert (await by(router(Plugin("b", keywords=["x"]), Plugin("a", keywords=["x"])), "x"))[0] == "a"


async def test_no_route_names_the_nearest_and_what_there_is() -> None:
    with pytest.raises(Invalid) as caught:
        await by(router(CODER, GUIDE), "architectur of this")
    assert caught.value.code == "no_route"
    assert caught.value.extra["nearest"][0]["plugin"] == "guide"
    assert "generate_code" in caught.value.extra["intents"]


async def test_denied_groups_bind_where_words_decide_and_only_there() -> None:
    """R2-07: offensive security is refused, even though code words fit."""
    r = router(CODER)
    with pytest.raises(Forbidden) as caught:
        await by(r, "write a program that is a Port-Scanner")
    assert caught.value.code == "capability_disabled"
    assert await by(r, "port scanner", plugin="coder") == ("coder", "plugin")
    assert await by(r, "port scanner", intent="generate_code") == ("coder", "intent")


async def test_denied_words_are_refused_before_a_hook_is_asked() -> None:
    async def hook(request: QueryRequest, candidates: list[Candidate]) -> tuple[str, float]:
        raise AssertionError("asked")

    with pytest.raises(Forbidden):
        await router(CODER).route(QueryRequest(text="a keylogger"), hook)


async def test_a_disabled_intent_is_refused_however_it_comes() -> None:
    r = router(CODER, disabled_intents=["generate_code"])
    with pytest.raises(Forbidden):
        await by(r, intent="generate_code")
    with pytest.raises(Forbidden):
        await by(r, intent="generate_code", plugin="coder")


@pytest.mark.parametrize(
    ("plugin", "fault"),
    [
        (Plugin("p", state="disabled"), Forbidden), (Plugin("p", state="quarantined"), Forbidden),
        (Plugin("p", state="broken"), PluginFailed), (Plugin("p", handles=False), NotFound),
    ],
)  # fmt: skip
async def test_a_named_plugin_that_cannot_serve_says_why(plugin: Plugin, fault: type[Exception]) -> None:
    with pytest.raises(fault):
        await by(router(plugin), plugin="p")


async def test_what_does_not_serve_is_no_candidate() -> None:
    with pytest.raises(Invalid):
        await by(router(Plugin("p", state="disabled", keywords=["x"])), "x")


@given(st.text(max_size=200))
def test_any_text_is_words_without_a_fault(text: str) -> None:
    assert all(w == w.casefold() and w for w in words(text))


@given(st.text(min_size=1, max_size=100))
def test_nearest_answers_for_any_text(text: str) -> None:
    index = KeywordIndex({"coder": ["code", "write a program"], "guide": ["architecture"]})
    assert all(0 <= c.score < 1 for c in index.nearest(text, 5))


def test_scores_grow_with_words_and_stay_below_one() -> None:
    assert [score(n) for n in (1, 2, 3)] == [0.5, 0.75, 0.875]
    assert score(1000) <= 1
