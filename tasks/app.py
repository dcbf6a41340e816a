"""The Celery app: `celery -A tasks.app ...`."""

from typing import Any

from celery import Celery, signals
from celery.loaders.app import AppLoader
from kombu.connection import Connection

from face3d.logs import configure_logs
from face3d.queues import DELIVERY_QUEUE
from face3d.settings import Settings, get_settings
from tasks.broker import celery_config, publisher_options
from tasks.routing import Router


class WorkerLoader(AppLoader):  # type: ignore[misc]  # celery ships no types
    """Imports tasks where they run: Flower and who only publishes need none of what stages compute with."""

    def on_worker_init(self) -> None:
        """Import the tasks of what this worker serves; one that sends webhooks serves nothing else."""
        for module in ("tasks.deliver", "tasks.heartbeat"):
            self.import_task_module(module)
        if get_settings().worker.stages != (DELIVERY_QUEUE,):
            self.import_task_module("tasks.stages")


class App(Celery):  # type: ignore[misc]  # celery ships no types
    """Celery, whose publishers wait for no broker without an end, with the router of our stages."""

    #: Places stages; Celery asks it about each message.
    router: Router

    def connection_for_write(self, url: str | None = None, **kwargs: Any) -> Connection:
        """Return a connection for publishing, or for questions to the broker."""
        options = {**self.conf.face3d_publisher_options, **(kwargs.pop("transport_options", None) or {})}
        made: Connection = super().connection_for_write(url, transport_options=options, **kwargs)
        return made


def make_app(settings: Settings) -> Celery:
    """Return a Celery app for these settings."""
    made = App("face3d", set_as_current=True, loader=WorkerLoader)
    made.conf.update(celery_config(settings))
    made.conf.face3d_publisher_options = publisher_options(settings.broker_kind)
    made.router = Router(settings)
    made.conf.task_routes = (made.router.route,)
    return made


app = make_app(get_settings())


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    configure_logs(get_settings())
