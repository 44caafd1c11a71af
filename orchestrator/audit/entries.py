"""What is written down of one occurrence."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One occurrence: an event, and an audit row unless `audited` is false.

    `topic` is canonical and dotted; `name`, the seeds' spelling, defaults to it. `data` holds facts and references,
    never raw outputs (R4-06). `owner` decides who may see the event: an identity, `LOOPBACK`, None for the
    daemon's own.
    """

    topic: str
    subject: str | None
    actor: str
    outcome: str = "ok"
    data: dict[str, Any] = field(default_factory=dict)
    owner: str | None = None
    approval_id: str | None = None
    name: str | None = None
    source: str = "daemon"
    audited: bool = True
