"""The tables, as SQLAlchemy sees them. The migrations build them; a test compares the two."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table

METADATA = MetaData()
BLOB_METADATA = MetaData()

Time = String(24)
"""RFC 3339, UTC, milliseconds: sorts as text."""
Id = String(36)

events = Table(
    "events",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False),
    Column("topic", String(200), nullable=False),
    Column("name", String(200), nullable=False),
    Column("time", Time, nullable=False),
    Column("source", String(100), nullable=False),
    Column("subject", String(200)),
    Column("owner", Id),
    Column("data", JSON, nullable=False),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
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
)

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
    schema="blobs",
)
"""In a database file of its own, attached beside the main one, so that no raw output is ever in that (R4-06)."""
