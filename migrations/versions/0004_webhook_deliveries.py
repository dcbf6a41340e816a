"""How webhook messages are claimed and tried, and how secrets are rotated"""

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision.

    Messages that wait keep their due time and their count of tries. Secrets stay readable here; the relay
    seals them once a key is set.
    """
    op.add_column(
        "webhook_endpoints",
        sa.Column("previous_secrets", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
    )
    op.add_column("webhook_endpoints", sa.Column("disabled_reason", sa.Text(), nullable=True))
    op.add_column("webhook_endpoints", sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "webhook_endpoints", sa.Column("hangs", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("deliveries", sa.Column("claim", sa.Integer(), server_default="0", nullable=False))
    op.add_column("deliveries", sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("deliveries", sa.Column("begun", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["endpoint_id", "due_at"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_deliveries_claimed",
        "deliveries",
        ["endpoint_id", "claimed_until"],
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.create_index("ix_deliveries_created_at", "deliveries", ["created_at", "id"])
    op.create_index(
        "ix_deliveries_failed", "deliveries", ["finished_at"], postgresql_where=sa.text("state = 'failed'")
    )
    op.create_table(
        "delivery_tries",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
            name=op.f("fk_delivery_tries_delivery_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_delivery_tries")),
    )


def downgrade() -> None:
    """Go back to the revision before, which knows plain secrets only.

    Raises:
        SecretUnreadable: FACE3D_SECRET_KEY is not the one that sealed them; nothing is changed.
    """
    box = context.config.attributes["secret_box"]
    connection = op.get_bind()
    for endpoint_id, secret in connection.execute(sa.text("SELECT id, secret FROM webhook_endpoints")).all():
        connection.execute(
            sa.text("UPDATE webhook_endpoints SET secret = :secret WHERE id = :id"),
            {"id": endpoint_id, "secret": box.open(secret)},
        )
    op.drop_table("delivery_tries")
    op.drop_index("ix_deliveries_failed", table_name="deliveries")
    op.drop_index("ix_deliveries_created_at", table_name="deliveries")
    op.drop_index("ix_deliveries_claimed", table_name="deliveries")
    op.drop_index("ix_deliveries_waiting", table_name="deliveries")
    for name in ("begun", "claimed_until", "claim"):
        op.drop_column("deliveries", name)
    for name in ("hangs", "paused_until", "disabled_reason", "previous_secrets"):
        op.drop_column("webhook_endpoints", name)
