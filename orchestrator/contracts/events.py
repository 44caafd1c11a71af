"""What happened: one immutable record, told to many (CONTRACT 8)."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the log.

    `seq` orders all events of one store, `topic` is dotted (`query.completed`), `name` its spelling in the seeds;
    `owner` decides who may see it: an identity, `LOOPBACK`, or `None` for the daemon's own.
    """

    seq: int
    id: str
    topic: str
    name: str
    time: str
    source: str
    subject: str | None
    data: dict[str, Any] = field(default_factory=dict)
    owner: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The event as clients see it."""
        return {
            "seq": self.seq,
            "id": self.id,
            "topic": self.topic,
            "name": self.name,
            "time": self.time,
            "source": self.source,
            "subject": self.subject,
            "data": self.data,
        }
