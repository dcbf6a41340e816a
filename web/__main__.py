"""`python -m web`: serve the page and the API."""

import structlog
import uvicorn

from face3d.logs import configure_logs
from face3d.settings import get_settings
from web.app import create_app

log = structlog.get_logger(__name__)

#: Long enough for an upload in flight; progress streams end with their client.
SHUTDOWN_SECONDS = 5


def main() -> None:
    """Serve until a signal."""
    settings = get_settings()
    configure_logs(settings)
    settings.require_api_token()
    if not settings.event_token.get_secret_value():
        log.warning("events.refused", reason="FACE3D_EVENT_TOKEN is empty: the sweep alone finds photos")
    uvicorn.run(
        create_app(settings),
        host=settings.web_host,
        port=settings.web_port,
        # Logged by SecurityMiddleware, without queries.
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
