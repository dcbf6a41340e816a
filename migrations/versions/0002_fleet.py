"""Stated options, reasons of placement, excluded GPU types, options as they ran, urgent chains first"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _json(name: str, empty: str | None) -> sa.Column[object]:
    default = sa.text(f"'{empty}'::jsonb") if empty else None
    kind = postgresql.JSONB(astext_type=sa.Text())
    return sa.Column(name, kind, server_default=default, nullable=empty is None)


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("jobs", _json("stated", "[]"))
    op.add_column("stages", _json("placement", None))
    op.add_column("stages", _json("excluded", "[]"))
    op.add_column("attempts", _json("ran", "{}"))
    op.add_column("outbox", sa.Column("priority", sa.SmallInteger(), server_default="9", nullable=False))
    op.create_index("ix_outbox_priority", "outbox", ["priority", "id"], unique=False)


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_index("ix_outbox_priority", table_name="outbox")
    op.drop_column("outbox", "priority")
    op.drop_column("attempts", "ran")
    op.drop_column("stages", "excluded")
    op.drop_column("stages", "placement")
    op.drop_column("jobs", "stated")
