"""Server-sent events: a job's view, whenever it changed, until the job ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from face3d.states import TERMINAL_JOB_STATES
from web.views import JobView

POLL_SECONDS = 0.3

#: Proxies close connections that are silent for long.
KEEP_ALIVE_SECONDS = 15.0

#: A browser connects again by itself; so none holds on to a connection for ever.
MAX_SECONDS = 900.0


async def stream_job(request: Request, load: Callable[[], JobView]) -> AsyncIterator[str]:
    """Yield `event: job` with the job's view as data at once, at every change, and at the end.

    Args:
        request: asked whether the client is still there.
        load: reads the job; runs in the thread pool, so that a waiting client holds no thread.
    """
    started = spoken = time.monotonic()
    before = ""
    while True:
        view = await run_in_threadpool(load)
        text = view.model_dump_json()
        now = time.monotonic()
        if text != before:
            before, spoken = text, now
            yield f"event: job\ndata: {text}\n\n"
        elif now - spoken > KEEP_ALIVE_SECONDS:
            spoken = now
            yield ": still here\n\n"
        if view.state in TERMINAL_JOB_STATES:
            yield "event: end\ndata: {}\n\n"
            return
        if now - started > MAX_SECONDS or await request.is_disconnected():
            return
        await asyncio.sleep(POLL_SECONDS)
