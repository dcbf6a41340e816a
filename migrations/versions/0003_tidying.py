"""When a job was tidied; indexes for lists, statistics and cascades"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DONE = sa.text("outcome = 'done'")


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("jobs", sa.Column("tidied_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_jobs_state_created_at", "jobs", ["state", "created_at"])
    op.create_index(
        "ix_jobs_untidied", "jobs", ["finished_at"], postgresql_where=sa.text("tidied_at IS NULL")
    )
    op.drop_index("ix_attempts_service", table_name="attempts")
    op.create_index("ix_attempts_service", "attempts", ["stage", "finished_at"], postgresql_where=_DONE)
    op.create_index("ix_outbox_job_id", "outbox", ["job_id"])
    op.create_index("ix_deliveries_endpoint_id", "deliveries", ["endpoint_id"])


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_index("ix_deliveries_endpoint_id", table_name="deliveries")
    op.drop_index("ix_outbox_job_id", table_name="outbox")
    op.drop_index("ix_attempts_service", table_name="attempts")
    op.create_index(
        "ix_attempts_service", "attempts", ["stage", "gpu_type", "finished_at"], postgresql_where=_DONE
    )
    op.drop_index("ix_jobs_untidied", table_name="jobs")
    op.drop_index("ix_jobs_state_created_at", table_name="jobs")
    op.drop_column("jobs", "tidied_at")
