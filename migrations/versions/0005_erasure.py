"""What erasure and retention remember"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.add_column("jobs", sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("upkeep_failures", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("upkeep_due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("erasure_asked_at", sa.DateTime(timezone=True), nullable=True))
    # Erased rows stay for ever: what looks for jobs to erase must not walk over them.
    op.create_index(
        "ix_jobs_unerased",
        "jobs",
        ["finished_at"],
        postgresql_where=sa.text("state IN ('ready', 'failed', 'cancelled')"),
    )
    op.create_table(
        "erased_photos",
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("job_id", sa.Uuid, nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("digest", name="pk_erased_photos"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE", name="fk_erased_photos_job_id"),
    )
    op.create_index("ix_erased_photos_erased_at", "erased_photos", ["erased_at"])
    op.create_index("ix_erased_photos_job_id", "erased_photos", ["job_id"])


def downgrade() -> None:
    """Go back to the revision before."""
    op.drop_table("erased_photos")
    op.drop_index("ix_jobs_unerased", table_name="jobs")
    op.drop_column("jobs", "erasure_asked_at")
    op.drop_column("jobs", "upkeep_due_at")
    op.drop_column("jobs", "upkeep_failures")
    op.drop_column("jobs", "asked_at")
