"""The Celery app: `celery -A tasks.app ...`."""

from typing import Any

from celery import Celery, signals

from face3d.logs import configure_logs
from face3d.settings import Settings, get_settings
from tasks.broker import celery_config
from tasks.routing import route


def make_app(settings: Settings) -> Celery:
    """Return a Celery app for these settings."""
    made = Celery("face3d", set_as_current=True)
    made.conf.update(celery_config(settings))
    made.conf.task_routes = (route,)
    made.conf.imports = ("tasks.stages", "tasks.deliver", "tasks.heartbeat")
    return made


app = make_app(get_settings())


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(get_settings())
