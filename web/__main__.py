"""`python -m web`: serve the page and the API."""

import uvicorn

from face3d.logs import configure_logs
from face3d.settings import get_settings
from web.app import create_app

#: Long enough for an upload in flight; progress streams end with their client.
SHUTDOWN_SECONDS = 5


def main() -> None:
    """Serve until a signal."""
    settings = get_settings()
    configure_logs(settings)
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
