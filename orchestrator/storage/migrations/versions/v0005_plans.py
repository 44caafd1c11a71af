"""Plans that were given: their ids, the commands that do them, and their histories (seed 001)."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_PLAN_EVENTS = "topic >= 'plan.' AND topic < 'plan/'"


def upgrade() -> None:
    """Make the table, the index by which a plan's history is found, and a place for what hooks are told."""
    op.create_table(
        "plans",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("identity_id", sa.String(36), nullable=False),
        sa.Column("external_id", sa.String(128), nullable=False),
        sa.Column("goal_id", sa.String(128), nullable=False),
        sa.Column("command_id", sa.String(36), sa.ForeignKey("commands.id", ondelete="CASCADE")),
        sa.Column("plan_ref", sa.String(64), nullable=False),
        sa.Column("history_ref", sa.String(64)),
        sa.Column("replaces", sa.String(36)),
        sa.Column("superseded_by", sa.String(36)),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.UniqueConstraint("identity_id", "external_id"),
    )
    op.create_index("plans_command", "plans", ["command_id"])
    op.create_index(
        "events_of_plans", "events", ["subject", "seq"],
        sqlite_where=sa.text(_PLAN_EVENTS), postgresql_where=sa.text(_PLAN_EVENTS),
    )  # fmt: skip
    op.add_column("commands", sa.Column("execution_context", sa.JSON()))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("commands", "execution_context")
    op.drop_index("events_of_plans", "events")
    op.drop_table("plans")
