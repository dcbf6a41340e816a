"""Server-sent events: a job's view, whenever it changed, until the job ends.

All followers of a process share one look at the database a tick, however many they are.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass

import structlog
from starlette.concurrency import run_in_threadpool

from face3d.states import TERMINAL_JOB_STATES
from web.views import JobView

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.3

#: Proxies close connections that are silent for long.
KEEP_ALIVE_SECONDS = 15.0

#: A browser connects again by itself; so none holds on to a connection for ever.
MAX_SECONDS = 900.0


@dataclass(frozen=True)
class _News:
    """A job as it is told."""

    text: str
    #: Nothing more will come.
    last: bool

    @classmethod
    def of(cls, view: JobView) -> "_News":
        return cls(view.model_dump_json(), view.state in TERMINAL_JOB_STATES)


class _Box:
    """A follower's mailbox: holds the newest only."""

    def __init__(self) -> None:
        self._news: _News | None = None
        self._came = asyncio.Event()

    def put(self, news: _News | None) -> None:
        self._news = news
        self._came.set()

    async def take(self) -> _News | None:
        await self._came.wait()
        self._came.clear()
        return self._news


class Followers:
    """Who follows which job.

    Args:
        load: returns views of the jobs of these ids that there are; runs in the thread pool.
    """

    def __init__(self, load: Callable[[Collection[str]], Mapping[str, JobView]]) -> None:
        self._load = load
        self._boxes: dict[str, set[_Box]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def follow(self, view: JobView) -> AsyncIterator[str]:
        """Yield `event: job` with the job's view as data at once, at every change, and at the end.

        Args:
            view: the job as it is now.
        """
        box = _Box()
        box.put(_News.of(view))
        self._boxes.setdefault(view.id, set()).add(box)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            async for text in _tell(box):
                yield text
        finally:
            boxes = self._boxes[view.id]
            boxes.discard(box)
            if not boxes:
                del self._boxes[view.id]

    async def _poll(self) -> None:
        """Look at all followed jobs while there are any."""
        failed = False
        while self._boxes:
            await asyncio.sleep(POLL_SECONDS)
            wanted = tuple(self._boxes)
            try:
                views = await run_in_threadpool(self._load, wanted)
            except Exception as error:
                # Followers keep what they know, and hear more when the database is back.
                if not failed:
                    log.warning("progress not read", error=type(error).__name__)
                failed = True
                continue
            failed = False
            for job_id in wanted:
                news = _News.of(views[job_id]) if job_id in views else None
                for box in self._boxes.get(job_id, ()):
                    box.put(news)


async def _tell(box: _Box) -> AsyncIterator[str]:
    ends = time.monotonic() + MAX_SECONDS
    spoken, before = time.monotonic(), ""
    while time.monotonic() < ends:
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                news = await box.take()
        except TimeoutError:
            # Nothing was read of the database meanwhile.
            news = _News(before, last=False)
        if news is None:
            return
        if news.text != before:
            before, spoken = news.text, time.monotonic()
            yield f"event: job\ndata: {news.text}\n\n"
        elif time.monotonic() - spoken > KEEP_ALIVE_SECONDS:
            spoken = time.monotonic()
            yield ": still here\n\n"
        if news.last:
            yield "event: end\ndata: {}\n\n"
            return
