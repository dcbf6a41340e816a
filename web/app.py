"""The FastAPI app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from db.session import make_session_factory
from face3d.settings import Settings
from storage.client import Storage
from web import deliveries, events, health, jobs, metrics, page, subscriptions, webhooks
from web.context import Context
from web.problems import install_handlers
from web.security import SecurityMiddleware

DESCRIPTION = """\
One frontal photo becomes a 3D head with a true 4096 x 4096 texture.

PUT photos in the inbox bucket and follow them at `/v1/lookup`, or upload them here with `POST /v1/jobs`.
Every call needs `Authorization: Bearer <token>`. Errors are `{code, message, value, limit}`: a code for
programs, a sentence for people, what was measured and what is allowed.
"""


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    await run_in_threadpool(app.state.context.storage.prepare)
    yield


def create_app(settings: Settings) -> FastAPI:
    """Return the app; it connects to database, broker and storage when they are first needed."""
    app = FastAPI(
        title="Face3D",
        version="1",
        description=DESCRIPTION,
        # Their pages load scripts from a CDN; /openapi.json is enough.
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.context = Context(
        settings=settings, sessions=make_session_factory(settings), storage=Storage.from_settings(settings)
    )
    install_handlers(app)
    app.add_middleware(SecurityMiddleware)
    for room in (events, subscriptions, jobs, webhooks, deliveries, health, metrics, page):
        app.include_router(room.router)
    app.mount("/static", StaticFiles(directory=page.STATIC), name="static")
    return app
