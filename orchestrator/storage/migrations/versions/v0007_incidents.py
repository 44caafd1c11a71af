"""What goes wrong, and what becomes of results: incidents, halts, webhooks, versions of outputs, effects to undo."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; the steps that there are failed for reasons that nobody classed."""
    op.add_column("execution_plans", sa.Column("category", sa.String(20)))
    op.create_table(
        "incidents",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("time", sa.String(24), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(200)),
        sa.Column("owner", sa.String(36)),
        sa.Column("detail", sa.String(2000), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.String(24)),
        sa.Column("closed_by", sa.String(36)),
        sa.Column("reason", sa.String(2000)),
    )
    op.create_index("incidents_open", "incidents", ["open", "kind", "subject"])
    op.create_table(
        "halts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("time", sa.String(24), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("reason", sa.String(2000), nullable=False),
        sa.Column("halted_by", sa.String(100), nullable=False),
        sa.Column("resumed_at", sa.String(24)),
        sa.Column("resumed_by", sa.String(36)),
        sa.Column("resume_reason", sa.String(2000)),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("url", sa.String(2000), nullable=False),
        sa.Column("topics", sa.JSON(), nullable=False),
        sa.Column("secret", sa.String(200), nullable=False),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.Column("created_by", sa.String(36), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.String(24)),
        sa.Column("fault", sa.String(500)),
    )
    op.create_table(
        "dead_letters",
        sa.Column("webhook_id", sa.String(36), sa.ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("time", sa.String(24), nullable=False),
        sa.Column("fault", sa.String(500), nullable=False),
    )
    op.create_table(
        "outputs",
        sa.Column("command_id", sa.String(36), sa.ForeignKey("commands.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("step_index", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("step_id", sa.String(64), nullable=False),
        sa.Column("plan_version", sa.Integer(), nullable=False),
        sa.Column("effects", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("output_reference", sa.JSON(), nullable=False),
        sa.Column("rolled_back_to", sa.Integer()),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.Column("decided_by", sa.String(36)),
        sa.Column("decided_at", sa.String(24)),
        sa.Column("notes", sa.String(2000)),
        sa.CheckConstraint("state IN ('proposed', 'active', 'rejected', 'superseded')", name="state_known"),
    )
    op.create_table(
        "effects",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("command_id", sa.String(36), sa.ForeignKey("commands.id", ondelete="CASCADE"), nullable=False),
        sa.Column("step_index", sa.Integer(), nullable=False),
        sa.Column("plan_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("tool", sa.String(64), nullable=False),
        sa.Column("permit_for", sa.String(200), nullable=False),
        sa.Column("approval_id", sa.String(36), nullable=False),
        sa.Column("person", sa.String(36), nullable=False),
        sa.Column("request_ref", sa.String(64), nullable=False),
        sa.Column("output_ref", sa.String(64)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.String(24)),
        sa.Column("fault", sa.String(2000)),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.CheckConstraint("kind IN ('compensated', 'deferred')", name="kind_known"),
        sa.CheckConstraint(
            "state IN ('held', 'kept', 'due', 'doing', 'done', 'cancelled', 'failed')", name="state_known"
        ),
    )
    op.create_index("effects_command", "effects", ["command_id"])
    op.create_index("effects_due", "effects", ["state", "next_at"])


def downgrade() -> None:
    """Drop them."""
    for name in ("effects", "outputs", "dead_letters", "webhooks", "halts", "incidents"):
        op.drop_table(name)
    op.drop_column("execution_plans", "category")
