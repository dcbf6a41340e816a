"""Probes: alive, and ready to serve."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from kombu.connection import Connection
from pydantic import BaseModel, Field
from sqlalchemy import text

from face3d.settings import Settings
from web.context import ContextOf

log = structlog.get_logger(__name__)

BROKER_TIMEOUT_SECONDS = 2.0

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """How the process, or what it stands on, is."""

    status: str = Field(description="ok or failed")
    checks: dict[str, str] = Field(default_factory=dict, description="ok or failed, by server.")


@router.get("/healthz")
def check_alive() -> Health:
    """Say that this process answers."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Health}})
def check_ready(context: ContextOf) -> JSONResponse:
    """Say whether database, broker and storage answer: 200, or 503 and which does not."""

    def ask_database() -> None:
        with context.sessions() as session:
            session.execute(text("SELECT 1"))

    checks: dict[str, Callable[[], None]] = {
        "database": ask_database,
        "broker": lambda: ping_broker(context.settings),
        "storage": lambda: context.storage.ping(context.settings.bucket_inbox),
    }
    results = {name: _try(name, check) for name, check in checks.items()}
    ready = set(results.values()) == {"ok"}
    health = Health(status="ok" if ready else "failed", checks=results)
    return JSONResponse(
        health.model_dump(), status_code=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    )


def ping_broker(settings: Settings) -> None:
    """Connect to the broker once, without retries."""
    connect: Any = Connection
    url = settings.broker_url.get_secret_value()
    with connect(url, connect_timeout=BROKER_TIMEOUT_SECONDS) as connection:
        connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT_SECONDS)


def _try(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as error:
        # A probe reports whatever is wrong; the kind is enough, messages may name addresses.
        log.warning("not ready", server=name, error=type(error).__name__)
        return "failed"
    return "ok"
