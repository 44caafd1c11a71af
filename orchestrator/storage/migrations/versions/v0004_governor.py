"""The governor: commands, their plans and outputs, approvals, budgets, locks (seed 004)."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "commands",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("identity_id", sa.String(36), nullable=False),
        sa.Column("context_id", sa.String(36), nullable=False),
        sa.Column("sphere", sa.String(40), nullable=False),
        sa.Column("intent", sa.Text(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False, server_default="created"),
        sa.Column("estimated_cost", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.Column("asked", sa.JSON(), nullable=False),
        sa.Column("approval_mode", sa.String(10), nullable=False),
        sa.Column("plan_version", sa.Integer(), nullable=False),
        sa.Column("execution_id", sa.String(36)),
        sa.Column("decision", sa.String(20)),
        sa.Column("resolution", sa.String(20)),
        sa.Column("failure", sa.JSON()),
        sa.Column("updated_at", sa.String(24), nullable=False),
        sa.CheckConstraint(
            "status IN ('created', 'planned', 'awaiting_approval', 'approved', 'executing', 'completed', 'failed', "
            "'cancelled')",
            name="status_known",
        ),
    )
    op.create_index("idx_commands_identity", "commands", ["identity_id"])
    op.create_index("idx_commands_sphere", "commands", ["sphere"])
    op.create_index("idx_commands_status", "commands", ["status"])
    op.create_table(
        "plan_versions",
        sa.Column("command_id", sa.String(36), sa.ForeignKey("commands.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("plan_ref", sa.String(64), nullable=False),
        sa.Column("estimated_cost", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(24), nullable=False),
    )
    op.create_table(
        "execution_plans",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("command_id", sa.String(36), sa.ForeignKey("commands.id", ondelete="CASCADE"), nullable=False),
        sa.Column("step_index", sa.Integer(), nullable=False),
        sa.Column("agent_id", sa.String(36), nullable=False),
        sa.Column("skill", sa.String(100), nullable=False),
        sa.Column("tool", sa.String(200), nullable=False),
        sa.Column("estimated_tokens", sa.BigInteger(), nullable=False),
        sa.Column("estimated_cost", sa.JSON(), nullable=False),
        sa.Column("requires_approval", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False, server_default="pending"),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.Column("step_id", sa.String(64), nullable=False),
        sa.Column("type", sa.String(20), nullable=False),
        sa.Column("effects", sa.String(20), nullable=False),
        sa.Column("dependencies", sa.JSON(), nullable=False),
        sa.Column("error", sa.String(4000)),
        sa.Column("skip_reason", sa.String(40)),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'running', 'completed', 'failed', 'skipped')", name="status_known"
        ),
        sa.UniqueConstraint("command_id", "step_index"),
    )
    op.create_index("idx_plans_command", "execution_plans", ["command_id"])
    op.create_index("idx_plans_status", "execution_plans", ["status"])
    op.create_table(
        "execution_results",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column(
            "plan_step_id", sa.String(36), sa.ForeignKey("execution_plans.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("agent_type", sa.String(10), nullable=False),
        sa.Column("output_reference", sa.JSON(), nullable=False),
        sa.Column("token_usage", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.Column("plan_version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.CheckConstraint("agent_type IN ('llm', 'tool', 'hybrid')", name="agent_type_known"),
    )
    op.create_index("idx_results_step", "execution_results", ["plan_step_id"])
    op.create_table(
        "attempts",
        sa.Column("command_id", sa.String(36), sa.ForeignKey("commands.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("plan_version", sa.Integer(), primary_key=True),
        sa.Column("step_index", sa.Integer(), primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.String(24), nullable=False),
        sa.Column("due_at", sa.String(24)),
        sa.Column("ended_at", sa.String(24)),
        sa.Column("outcome", sa.String(40)),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("command_id", sa.String(36), sa.ForeignKey("commands.id", ondelete="CASCADE"), nullable=False),
        sa.Column("plan_version", sa.Integer(), nullable=False),
        sa.Column("step_index", sa.Integer()),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("requested_by", sa.String(36), nullable=False),
        sa.Column("created_at", sa.String(24), nullable=False),
        sa.Column("expires_at", sa.String(24), nullable=False),
        sa.Column("decided_by", sa.String(36)),
        sa.Column("decided_at", sa.String(24)),
        sa.Column("notes", sa.String(2000)),
        sa.CheckConstraint(
            "state IN ('pending', 'approved', 'consumed', 'void', 'rejected', 'expired')", name="state_known"
        ),
    )
    op.create_index("approvals_command", "approvals", ["command_id"])
    op.create_index("approvals_open", "approvals", ["state", "expires_at"])
    op.create_table(
        "budgets",
        sa.Column("scope", sa.String(100), primary_key=True),
        sa.Column("cap_micros", sa.BigInteger()),
        sa.Column("cap_tokens", sa.BigInteger()),
        sa.Column("reserved_micros", sa.BigInteger(), nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("spent_micros", sa.BigInteger(), nullable=False),
        sa.Column("spent_tokens", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "reservations",
        sa.Column("command_id", sa.String(36), sa.ForeignKey("commands.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("scope", sa.String(100), primary_key=True),
        sa.Column("micros", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "scope_locks",
        sa.Column("scope", sa.String(100), primary_key=True),
        sa.Column("holder", sa.String(36), primary_key=True),
        sa.Column("mode", sa.String(10), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.String(24), nullable=False),
        sa.CheckConstraint("mode IN ('shared', 'exclusive')", name="mode_known"),
    )
    op.create_table(
        "fences",
        sa.Column("scope", sa.String(100), primary_key=True),
        sa.Column("last", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Drop them."""
    for name in (
        "fences",
        "scope_locks",
        "reservations",
        "budgets",
        "approvals",
        "attempts",
        "execution_results",
        "execution_plans",
        "plan_versions",
        "commands",
    ):
        op.drop_table(name)
