"""Where a stage was sent, in columns instead of its queue's name; chores are periodic tasks"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ACTIVE = sa.text("state IN ('dispatched', 'running')")

#: A name that is none of ours is a placement that nobody knows: the relay sends such a stage again.
_READ_STAGES = r"""
    UPDATE stages SET gpu_type = split_part(queue, '.', 2), priority_class = split_part(queue, '.', 3)
     WHERE queue ~ '^[a-z]+\.[a-z0-9]+\.(interactive|batch)$' AND split_part(queue, '.', 1) = name
"""

#: A worker consumes queues of its own stages and type: the attempt's row names both.
_READ_ATTEMPTS = r"""
    UPDATE attempts SET priority_class = split_part(queue, '.', 3)
     WHERE queue ~ '^[a-z]+\.[a-z0-9]+\.(interactive|batch)$'
"""


def upgrade() -> None:
    """Go to this revision; what is on its way keeps its place."""
    op.rename_table("chores", "periodic_tasks")
    op.execute("ALTER INDEX pk_chores RENAME TO pk_periodic_tasks")
    op.add_column("stages", sa.Column("gpu_type", sa.Text(), nullable=True))
    op.add_column("stages", sa.Column("priority_class", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("priority_class", sa.Text(), nullable=True))
    op.execute(_READ_STAGES)
    op.execute(_READ_ATTEMPTS)
    op.drop_index("ix_stages_active", table_name="stages", postgresql_where=_ACTIVE)
    op.drop_column("stages", "queue")
    op.drop_column("attempts", "queue")
    op.create_index(
        "ix_stages_active",
        "stages",
        ["state", "name", "gpu_type", "priority_class"],
        postgresql_where=_ACTIVE,
    )
    op.create_check_constraint(
        op.f("ck_stages_placement"), "stages", "(gpu_type IS NULL) = (priority_class IS NULL)"
    )
    for table in ("stages", "attempts"):
        op.create_check_constraint(
            op.f(f"ck_{table}_priority_class"), table, "priority_class IN ('interactive', 'batch')"
        )


def downgrade() -> None:
    """Go back to the revision before."""
    op.execute("ALTER INDEX pk_periodic_tasks RENAME TO pk_chores")
    op.rename_table("periodic_tasks", "chores")
    op.add_column("attempts", sa.Column("queue", sa.Text(), nullable=True))
    op.add_column("stages", sa.Column("queue", sa.Text(), nullable=True))
    op.execute("UPDATE stages SET queue = name || '.' || gpu_type || '.' || priority_class")
    op.execute("UPDATE attempts SET queue = stage || '.' || gpu_type || '.' || priority_class")
    for table in ("attempts", "stages"):
        op.drop_constraint(op.f(f"ck_{table}_priority_class"), table)
    op.drop_constraint(op.f("ck_stages_placement"), "stages")
    op.drop_index("ix_stages_active", table_name="stages", postgresql_where=_ACTIVE)
    op.drop_column("attempts", "priority_class")
    op.drop_column("stages", "priority_class")
    op.drop_column("stages", "gpu_type")
    op.create_index("ix_stages_active", "stages", ["state", "queue"], postgresql_where=_ACTIVE)
