"""Alembic's environment: one transaction for all migrations, under a lock."""

from alembic import context
from sqlalchemy import create_engine, pool, text

from db.models import Base

#: Two starters at once must not migrate at once.
_MIGRATION_LOCK = 0x0FACE3E


def run_migrations() -> None:
    """Migrate the database that the configuration names."""
    engine = create_engine(context.config.attributes["database_url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_type=True,
            compare_server_default=True,
        )
        with context.begin_transaction():
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            context.run_migrations()
    engine.dispose()


run_migrations()
