"""Sessions, so that one that has ended is known to have been."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("profile", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(200)),
        sa.Column("ttl_s", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.Column("ended_at", sa.String(24)),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("permit_id", sa.String(36), nullable=False),
    )
    op.create_index("sessions_owner", "sessions", ["owner", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("sessions")
