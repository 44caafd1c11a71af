"""Tables of what comes after a step: versions of outputs, effects to be undone or released, incidents, who is told."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table

from orchestrator.storage.columns import METADATA, Id, Time, one_of

OUTPUT_STATES = ("proposed", "active", "rejected", "superseded")
EFFECT_STATES = ("held", "kept", "due", "doing", "done", "cancelled", "failed")

incidents = Table(
    "incidents",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("time", Time, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("subject", String(200)),
    Column("owner", Id),
    Column("detail", String(2000), nullable=False),
    Column("open", Boolean, nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("closed_at", Time),
    Column("closed_by", Id),
    Column("reason", String(2000)),
    Index("incidents_open", "open", "kind", "subject"),
)
"""Violations, once for each kind and subject while it is open: `times` counts them (R4-33)."""

halts = Table(
    "halts",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("time", Time, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("reason", String(2000), nullable=False),
    Column("halted_by", String(100), nullable=False),
    Column("resumed_at", Time),
    Column("resumed_by", Id),
    Column("resume_reason", String(2000)),
)

webhooks = Table(
    "webhooks",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("url", String(2000), nullable=False),
    Column("topics", JSON, nullable=False),
    Column("secret", String(200), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("created_by", Id, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("delivered", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Time),
    Column("fault", String(500)),
)
"""Who is told what; the log of events is the outbox, and `cursor` the last one that is settled."""

dead_letters = Table(
    "dead_letters",
    METADATA,
    Column("webhook_id", Id, ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("time", Time, nullable=False),
    Column("fault", String(500), nullable=False),
)

outputs = Table(
    "outputs",
    METADATA,
    Column("command_id", Id, ForeignKey("commands.id", ondelete="CASCADE"), primary_key=True),
    Column("step_index", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("step_id", String(64), nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("effects", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("output_reference", JSON, nullable=False),
    Column("rolled_back_to", Integer),
    Column("created_at", Time, nullable=False),
    Column("decided_by", Id),
    Column("decided_at", Time),
    Column("notes", String(2000)),
    one_of("state", OUTPUT_STATES),
)
"""Every output that a step of a command ever had: rows are added and decided, never replaced (R4-50)."""

effects = Table(
    "effects",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("command_id", Id, ForeignKey("commands.id", ondelete="CASCADE"), nullable=False),
    Column("step_index", Integer, nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("state", String(20), nullable=False),
    Column("tool", String(64), nullable=False),
    Column("permit_for", String(200), nullable=False),
    Column("approval_id", Id, nullable=False),
    Column("person", Id, nullable=False),
    Column("request_ref", String(64), nullable=False),
    Column("output_ref", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Time),
    Column("fault", String(2000)),
    Column("created_at", Time, nullable=False),
    one_of("kind", ("compensated", "deferred")),
    one_of("state", EFFECT_STATES),
    Index("effects_command", "command_id"),
    Index("effects_due", "state", "next_at"),
)
"""What must be undone if nobody accepts it, or is done only when somebody does (X-12)."""
