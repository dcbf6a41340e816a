"""Alembic, called from code: the schema from empty to head."""

from alembic import command
from alembic.config import Config

from face3d.sealing import SecretBox
from face3d.settings import ROOT, Settings


def alembic_config(settings: Settings) -> Config:
    """Return Alembic's configuration for these settings."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["database_url"] = settings.database_url.get_secret_value()
    config.attributes["secret_box"] = SecretBox.from_settings(settings)
    return config


def upgrade(settings: Settings) -> None:
    """Bring the schema to head."""
    command.upgrade(alembic_config(settings), "head")


def check(settings: Settings) -> None:
    """Raise where the models and the migrated schema differ."""
    command.check(alembic_config(settings))


def is_current(settings: Settings) -> bool:
    """Return whether the schema is at head."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from db.session import make_engine

    head = ScriptDirectory.from_config(alembic_config(settings)).get_current_head()
    engine = make_engine(settings, pool_size=1)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() == head
    finally:
        engine.dispose()
