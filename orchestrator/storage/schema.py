"""The tables, as SQLAlchemy sees them. The migrations build them; a test compares the two, on each backend."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
    true,
)

from orchestrator.storage import aftermath
from orchestrator.storage.columns import BLOB_METADATA, BLOBS, METADATA, Id, Seq, Time, one_of

incidents, halts = aftermath.incidents, aftermath.halts
webhooks, dead_letters = aftermath.webhooks, aftermath.dead_letters
outputs, effects = aftermath.outputs, aftermath.effects

COMMAND_STATUSES = (
    "created", "planned", "awaiting_approval", "approved", "executing", "completed", "failed", "cancelled",
)  # fmt: skip
STEP_STATUSES = ("pending", "approved", "running", "completed", "failed", "skipped")
PLAN_EVENTS = text("topic >= 'plan.' AND topic < 'plan/'")
"""Events of plans. A query that says so word by word finds a plan's history by the index that holds only these."""
APPROVAL_STATES = ("pending", "approved", "consumed", "void", "rejected", "expired")

events = Table(
    "events",
    METADATA,
    Column("seq", Seq, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False),
    Column("topic", String(200), nullable=False),
    Column("name", String(200), nullable=False),
    Column("time", Time, nullable=False),
    Column("source", String(100), nullable=False),
    Column("subject", String(200)),
    Column("owner", Id),
    Column("data", JSON, nullable=False),
    Index("events_of_plans", "subject", "seq", sqlite_where=PLAN_EVENTS, postgresql_where=PLAN_EVENTS),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    METADATA,
    Column("seq", Seq, primary_key=True, autoincrement=False),
    Column("time", Time, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", String(200), nullable=False),
    Column("subject", String(200)),
    Column("outcome", String(100), nullable=False),
    Column("approval_id", Id),
    Column("data", String, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("audit_subject", "subject"),
)

queries = Table(
    "queries",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("owner", Id, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("status", String(20), nullable=False),
    Column("intent", String(64)),
    Column("plugin", String(64)),
    Column("duration_ms", Integer),
    Column("request_ref", String(64), nullable=False),
    Column("answer_ref", String(64), nullable=False),
)

executions = Table(
    "executions",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("owner", Id, nullable=False),
    Column("query_id", Id),
    Column("created_at", Time, nullable=False),
    Column("status", String(20), nullable=False),
    Column("language", String(64), nullable=False),
    Column("profile", String(64), nullable=False),
    Column("subject", String(200)),
    Column("permit_id", Id, nullable=False),
    Column("request_ref", String(64), nullable=False),
    Column("summary", JSON),
    Column("outputs_ref", String(64)),
    Index("executions_owner", "owner", "id"),
)

sessions = Table(
    "sessions",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("owner", Id, nullable=False),
    Column("profile", String(64), nullable=False),
    Column("subject", String(200)),
    Column("ttl_s", Integer, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("ended_at", Time),
    Column("reason", String(500), nullable=False),
    Column("permit_id", Id, nullable=False),
    Index("sessions_owner", "owner", "id"),
)

identities = Table(
    "identities",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("name", String(200), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("active", Boolean, nullable=False, server_default=true()),
)

contexts = Table(
    "contexts",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("identity_id", Id, nullable=False),
    Column("sphere", String(40), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("budget_scope", JSON),
    Column("created_at", Time, nullable=False),
)

keys = Table(
    "keys",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("identity_id", Id, nullable=False),
    Column("name", String(200), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time),
    Column("revoked_at", Time),
    Column("kernel", String(20), nullable=False, server_default="shared"),
    Column("active", Boolean, nullable=False, server_default=true()),
    Column("quota", JSON),
)

grants = Table(
    "grants",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("capabilities", JSON, nullable=False),
    Column("sandbox", String(20)),
    Column("budget_per_use", JSON),
    Column("budget_total", JSON),
    Column("uses_left", BigInteger),
    Column("expires_at", Time),
    Column("granted_by", Id, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("revoked_at", Time),
    Column("identity_id", Id),
    Column("cap_micros", BigInteger),
    Column("cap_tokens", BigInteger),
    Column("spent_micros", BigInteger, nullable=False, server_default="0"),
    Column("spent_tokens", BigInteger, nullable=False, server_default="0"),
)
"""`identity_id` is whose calls a grant covers, null for everybody's; the caps are those of `budget_total`."""

commands = Table(
    "commands",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("identity_id", Id, nullable=False),
    Column("context_id", Id, nullable=False),
    Column("sphere", String(40), nullable=False),
    Column("intent", Text, nullable=False),
    Column("status", String(20), nullable=False, server_default="created"),
    Column("estimated_cost", JSON, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("asked", JSON, nullable=False),
    Column("approval_mode", String(10), nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("execution_id", Id),
    Column("decision", String(20)),
    Column("resolution", String(20)),
    Column("failure", JSON),
    Column("updated_at", Time, nullable=False),
    Column("execution_context", JSON),
    one_of("status", COMMAND_STATUSES),
    Index("idx_commands_identity", "identity_id"),
    Index("idx_commands_status", "status"),
    Index("idx_commands_sphere", "sphere"),
)
"""Seed 004's table, and after `created_at` what it lacks (R4-03)."""

plan_versions = Table(
    "plan_versions",
    METADATA,
    Column("command_id", Id, ForeignKey("commands.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("plan_ref", String(64), nullable=False),
    Column("estimated_cost", JSON, nullable=False),
    Column("created_at", Time, nullable=False),
)
"""Every plan that a command ever had; the newest is the one of `execution_plans`."""

plans = Table(
    "plans",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("identity_id", Id, nullable=False),
    Column("external_id", String(128), nullable=False),
    Column("goal_id", String(128), nullable=False),
    Column("command_id", Id, ForeignKey("commands.id", ondelete="CASCADE")),
    Column("plan_ref", String(64), nullable=False),
    Column("history_ref", String(64)),
    Column("replaces", Id),
    Column("superseded_by", Id),
    Column("created_at", Time, nullable=False),
    UniqueConstraint("identity_id", "external_id"),
    Index("plans_command", "command_id"),
)
"""Plans that were given (seed 001), each with the command that does it; an imported one has its history instead."""

execution_plans = Table(
    "execution_plans",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("command_id", Id, ForeignKey("commands.id", ondelete="CASCADE"), nullable=False),
    Column("step_index", Integer, nullable=False),
    Column("agent_id", Id, nullable=False),
    Column("skill", String(100), nullable=False),
    Column("tool", String(200), nullable=False),
    Column("estimated_tokens", BigInteger, nullable=False),
    Column("estimated_cost", JSON, nullable=False),
    Column("requires_approval", Boolean, nullable=False),
    Column("status", String(20), nullable=False, server_default="pending"),
    Column("created_at", Time, nullable=False),
    Column("step_id", String(64), nullable=False),
    Column("type", String(20), nullable=False),
    Column("effects", String(20), nullable=False),
    Column("dependencies", JSON, nullable=False),
    Column("error", String(4000)),
    Column("skip_reason", String(40)),
    Column("category", String(20)),
    Column("grant_id", Id),
    UniqueConstraint("command_id", "step_index"),
    one_of("status", STEP_STATUSES),
    Index("idx_plans_command", "command_id"),
    Index("idx_plans_status", "status"),
)
"""Seed 004's table, and after `created_at` what it lacks (R4-04)."""

execution_results = Table(
    "execution_results",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("plan_step_id", Id, ForeignKey("execution_plans.id", ondelete="CASCADE"), nullable=False),
    Column("agent_type", String(10), nullable=False),
    Column("output_reference", JSON, nullable=False),
    Column("token_usage", BigInteger, nullable=False),
    Column("cost", JSON, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    one_of("agent_type", ("llm", "tool", "hybrid")),
    Index("idx_results_step", "plan_step_id"),
)
"""Seed 004's table, and after `created_at` what it lacks (R4-05); outputs are references (R4-06)."""

attempts = Table(
    "attempts",
    METADATA,
    Column("command_id", Id, ForeignKey("commands.id", ondelete="CASCADE"), primary_key=True),
    Column("plan_version", Integer, primary_key=True),
    Column("step_index", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("fence", BigInteger, nullable=False),
    Column("started_at", Time, nullable=False),
    Column("due_at", Time),
    Column("ended_at", Time),
    Column("outcome", String(40)),
)
"""The write-ahead journal of steps: a row before an attempt begins, its outcome after it (REQUIREMENTS 3.1)."""

admissions = Table(
    "admissions",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("command_id", Id, ForeignKey("commands.id", ondelete="CASCADE"), nullable=False),
    Column("owner", Id, nullable=False),
    Column("created_at", Time, nullable=False),
    Index("admissions_command", "command_id", unique=True),
)
"""Queries and executions that no grant covers, by their own ids, each with the command that waits for a person."""

approvals = Table(
    "approvals",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("command_id", Id, ForeignKey("commands.id", ondelete="CASCADE"), nullable=False),
    Column("plan_version", Integer, nullable=False),
    Column("step_index", Integer),
    Column("digest", String(64), nullable=False),
    Column("state", String(10), nullable=False),
    Column("requested_by", Id, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False),
    Column("decided_by", Id),
    Column("decided_at", Time),
    Column("notes", String(2000)),
    one_of("state", APPROVAL_STATES),
    Index("approvals_command", "command_id"),
    Index("approvals_open", "state", "expires_at"),
)

budgets = Table(
    "budgets",
    METADATA,
    Column("scope", String(100), primary_key=True),
    Column("cap_micros", BigInteger),
    Column("cap_tokens", BigInteger),
    Column("reserved_micros", BigInteger, nullable=False),
    Column("reserved_tokens", BigInteger, nullable=False),
    Column("spent_micros", BigInteger, nullable=False),
    Column("spent_tokens", BigInteger, nullable=False),
)
"""What may be spent, is reserved and was spent, by scope: `command:ID`, `context:ID`, `key:ID` and so on."""

reservations = Table(
    "reservations",
    METADATA,
    Column("command_id", Id, ForeignKey("commands.id", ondelete="CASCADE"), primary_key=True),
    Column("scope", String(100), primary_key=True),
    Column("micros", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
)
"""What a command holds of each budget and has not spent."""

scope_locks = Table(
    "scope_locks",
    METADATA,
    Column("scope", String(100), primary_key=True),
    Column("holder", Id, primary_key=True),
    Column("mode", String(10), nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("lease_until", Time, nullable=False),
    one_of("mode", ("shared", "exclusive")),
)

fences = Table(
    "fences",
    METADATA,
    Column("scope", String(100), primary_key=True),
    Column("last", BigInteger, nullable=False),
)
"""The newest fencing token of each scope. Rows are never removed, so tokens only grow."""

idempotency = Table(
    "idempotency",
    METADATA,
    Column("space", String(100), primary_key=True),
    Column("path", String(500), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("created_at", Time, nullable=False),
    Column("status", Integer),
    Column("headers", JSON),
    Column("answer_ref", String(64)),
    Index("idempotency_created", "created_at"),
)

blobs = Table(
    "blobs",
    BLOB_METADATA,
    Column("sha256", String(64), primary_key=True),
    Column("size", Integer, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("data", LargeBinary, nullable=False),
    schema=BLOBS,
)
"""In a schema of its own, so that no raw output is ever in the main one (R4-06): on SQLite a second, attached file."""
