"""`python -m web`: serve the page and the API."""

import sys

import structlog

from face3d.extras import ExtraMissing, require_extra
from face3d.logs import configure_logs
from face3d.settings import get_settings

log = structlog.get_logger(__name__)


def main() -> int:
    """Serve until a signal; the return value is the exit code."""
    settings = get_settings()
    configure_logs(settings)
    try:
        require_extra("web")
    except ExtraMissing as error:
        log.error("web.refused", code=error.code, reason=error.message)
        return 2
    # Only now: an image of workers holds none of what they import.
    from web.app import create_app
    from web.auth import is_over_tls
    from web.server import serve

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
    return 0


if __name__ == "__main__":
    sys.exit(main())
