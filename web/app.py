"""The FastAPI app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from face3d.settings import Settings
from web import deliveries, events, health, jobs, metrics, page, subscriptions, webhooks
from web.auth import is_over_tls
from web.context import Context
from web.middleware.gate import Gate, GuardedApp
from web.middleware.limits import make_rules
from web.middleware.security import SecurityMiddleware
from web.problems import install_handlers
from web.progress import Followers

#: Bodies in memory, bytes: some eighty photos of a telephone, of all requests together.
HELD_BYTES = 256 * 2**20

DESCRIPTION = """\
One frontal photo becomes a 3D head with a true 4096 x 4096 texture.

PUT photos in the inbox bucket and follow them at `/v1/lookup`, or upload them here with `POST /v1/jobs`.
Every call needs `Authorization: Bearer <token>`. Errors are `{code, message, value, limit}`: a code for
programs, a sentence for people, what was measured and what is allowed.
"""


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: Context = app.state.context
    await run_in_threadpool(context.storage.prepare)
    context.watch.start()
    try:
        yield
    finally:
        await run_in_threadpool(context.close)


def create_app(settings: Settings) -> FastAPI:
    """Return the app; it connects to database, broker and storage when they are first needed."""
    context = Context.from_settings(settings)

    def guard(app: ASGIApp) -> ASGIApp:
        gate = Gate(
            app, make_rules(settings), context.lanes, held_bytes=max(HELD_BYTES, 4 * settings.max_bytes)
        )
        return SecurityMiddleware(gate, over_tls=is_over_tls(settings))

    app = GuardedApp(
        guard,
        title="Face3D",
        version="1",
        description=DESCRIPTION,
        # Their pages load scripts from a CDN; /openapi.json is enough.
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.context = context
    app.state.followers = Followers(partial(jobs.load_jobs, context))
    install_handlers(app)
    for room in (events, subscriptions, jobs, webhooks, deliveries, health, metrics, page):
        app.include_router(room.router)
    app.mount("/static", StaticFiles(directory=page.STATIC), name="static")
    return app
