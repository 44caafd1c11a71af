"""What a key demands of the sandbox: the host's kernel will do, or it must be a separate one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the keys that there are demand nothing."""
    op.add_column("keys", sa.Column("kernel", sa.String(20), nullable=False, server_default="shared"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("keys", "kernel")
