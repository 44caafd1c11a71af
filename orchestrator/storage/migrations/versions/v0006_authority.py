"""Who may do what: switches, quotas of keys, what grants have spent, and which grant a step rests on."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; whoever is there is active, and no grant has spent anything."""
    for table in ("identities", "keys"):
        op.add_column(table, sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("keys", sa.Column("quota", sa.JSON()))
    op.add_column("grants", sa.Column("identity_id", sa.String(36)))
    for column in ("cap_micros", "cap_tokens"):
        op.add_column("grants", sa.Column(column, sa.BigInteger()))
    for column in ("spent_micros", "spent_tokens"):
        op.add_column("grants", sa.Column(column, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("execution_plans", sa.Column("grant_id", sa.String(36)))
    op.create_table(
        "admissions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("command_id", sa.String(36), sa.ForeignKey("commands.id", ondelete="CASCADE"), nullable=False),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("created_at", sa.String(24), nullable=False),
    )
    op.create_index("admissions_command", "admissions", ["command_id"], unique=True)


def downgrade() -> None:
    """Drop them."""
    op.drop_table("admissions")
    op.drop_column("execution_plans", "grant_id")
    for column in ("spent_tokens", "spent_micros", "cap_tokens", "cap_micros", "identity_id"):
        op.drop_column("grants", column)
    op.drop_column("keys", "quota")
    for table in ("keys", "identities"):
        op.drop_column(table, "active")
