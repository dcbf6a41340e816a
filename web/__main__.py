"""`python -m web`: serve the page and the API."""

import structlog

from face3d.logs import configure_logs
from face3d.settings import get_settings
from web.app import create_app
from web.auth import is_over_tls
from web.server import serve

log = structlog.get_logger(__name__)


def main() -> None:
    """Serve until a signal."""
    settings = get_settings()
    configure_logs(settings)
    settings.require_api_token()
    if not settings.event_token.get_secret_value():
        log.warning("events.refused", reason="FACE3D_EVENT_TOKEN is empty: the sweep alone finds photos")
    serve(
        create_app(settings),
        host=settings.web_host,
        port=settings.web_port,
        over_tls=is_over_tls(settings),
        log_config=None,
    )


if __name__ == "__main__":
    main()
