"""Probes: alive, and ready to serve."""

from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from web.context import ContextOf
from web.problems import RETRY_SECONDS

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """How the process, or what it stands on, is."""

    status: str = Field(description="ok or failed")
    checks: dict[str, str] = Field(default_factory=dict, description="ok or failed, by server.")


@router.get("/healthz")
async def check_alive() -> Health:
    """Say that this process answers: it asks nobody and needs no thread."""
    return Health(status="ok")


@router.get("/readyz", responses={503: {"model": Health}})
async def check_ready(context: ContextOf) -> JSONResponse:
    """Say whether database, broker and storage answered a moment ago: 200, or 503 and which did not."""
    results = await context.watch.read()
    if set(results.values()) == {"ok"}:
        return JSONResponse(Health(status="ok", checks=results).model_dump())
    return JSONResponse(
        Health(status="failed", checks=results).model_dump(),
        status_code=HTTPStatus.SERVICE_UNAVAILABLE,
        headers={"Retry-After": RETRY_SECONDS},
    )
