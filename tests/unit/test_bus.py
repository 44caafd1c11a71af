"""The bus: `ask` and `tell`, wildcard topics, bounded queues, isolation (R2-12)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.bus import topics
from orchestrator.bus.local import LocalBus
from orchestrator.contracts.events import Event
from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.tasks import Supervisor


@pytest.fixture
async def bus() -> AsyncIterator[LocalBus]:
    supervisor = Supervisor()
    yield LocalBus(supervisor, Metrics())
    await supervisor.close()


def event(seq: int, topic: str = "query.completed") -> Event:
    return Event(seq, str(seq), topic, topic, "2026-01-01T00:00:00.000Z", "test", None)


@pytest.mark.parametrize(
    ("pattern", "topic", "fits"),
    [
        ("query.completed", "query.completed", True),
        ("query.*", "query.completed", True),
        ("query.*", "query.completed.late", False),
        ("query.>", "query.completed.late", True),
        ("query.>", "query", False),
        (">", "anything.at.all", True),
        ("*.completed", "query.completed", True),
        ("*", "query.completed", False),
        ("query.*.late", "query.completed.late", True),
    ],
)
def test_patterns_match_whole_words(pattern: str, topic: str, fits: bool) -> None:
    assert topics.matches(pattern, topic) is fits


@pytest.mark.parametrize("text", ["", "a..b", ".a", "a.", "a.>.b", "a b", "a.*b", "x" * 201, "a\n"])
def test_what_is_no_pattern_is_said_to_be_none(text: str) -> None:
    assert not topics.is_pattern(text)


async def test_listeners_hear_what_matches_in_order(bus: LocalBus) -> None:
    heard: list[int] = []
    done = asyncio.Event()

    def listen(e: Event) -> None:
        heard.append(e.seq)
        if e.seq == 99:
            done.set()

    bus.subscribe("query.*", listen, name="one")
    bus.tell(event(1000, "plugin.loaded"))
    for seq in range(100):
        bus.tell(event(seq))
    await asyncio.wait_for(done.wait(), 5)
    assert heard == list(range(100))


async def test_a_failing_listener_hurts_no_other_and_no_teller(bus: LocalBus) -> None:
    """R2-12."""
    heard = asyncio.Event()

    async def broken(e: Event) -> None:
        raise ValueError("mine alone")

    async def listen(e: Event) -> None:
        if e.seq == 1:
            heard.set()

    failing = bus.subscribe(">", broken, name="broken")
    bus.subscribe(">", listen, name="fine")
    bus.tell(event(0))
    bus.tell(event(1))
    await asyncio.wait_for(heard.wait(), 5)
    assert failing.failed == 2


async def test_a_stuck_listener_misses_events_which_are_counted(bus: LocalBus) -> None:
    """R2-12: its queue is bounded, nobody waits for it."""
    release, entered, fine = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stuck(e: Event) -> None:
        entered.set()
        await release.wait()

    async def listen(e: Event) -> None:
        if e.seq == 50:
            fine.set()

    slow = bus.subscribe(">", stuck, name="slow", queue_size=10)
    bus.subscribe(">", listen, name="fine")
    bus.tell(event(0))
    await entered.wait()
    for seq in range(1, 51):
        bus.tell(event(seq))
    await asyncio.wait_for(fine.wait(), 5)
    assert slow.missed == 40
    release.set()


async def test_a_closed_subscription_hears_nothing_more(bus: LocalBus) -> None:
    heard: list[int] = []
    first = bus.subscribe(">", lambda e: heard.append(e.seq), name="first")
    first.close()
    bus.tell(event(1))
    await asyncio.sleep(0)
    assert heard == []
    assert bus.subscriptions == []


async def test_ask_answers_raises_and_keeps_its_deadline(bus: LocalBus) -> None:
    async def double(n: int) -> int:
        if n < 0:
            raise ValueError("negative")
        if n == 0:
            await asyncio.Event().wait()
        return 2 * n

    bus.serve("double", double)
    assert await bus.ask("double", 21) == 42
    with pytest.raises(ValueError, match="negative"):
        await bus.ask("double", -1)
    with pytest.raises(TimeoutError):
        await bus.ask("double", 0, timeout_s=0.01)
    with pytest.raises(LookupError):
        await bus.ask("triple", 1)
    with pytest.raises(ValueError, match="served already"):
        bus.serve("double", double)


async def test_a_bad_pattern_is_refused_with_what_a_pattern_is(bus: LocalBus) -> None:
    with pytest.raises(ValueError, match="no topic pattern"):
        bus.subscribe("a..b", lambda e: None, name="x")
