"""Places for the calls that wait for a server, so that one that hangs takes only its own callers along.

A call that waits for the database or the storage holds a thread. All threads together suffice for all places
and some more: what needs neither, the page's files for instance, always finds one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from http import HTTPStatus

from web.problems import Problem, refuse_with

#: Of each lane; together less than the 40 threads that anyio gives an event loop.
PLACES = 12

#: Nobody waits for a place on which nothing has moved for this long: those before him are stuck.
STALL_SECONDS = 2.0


class Lane(StrEnum):
    """Which server a call may wait for."""

    DATABASE = "database"
    #: The storage, and the database too.
    STORAGE = "storage"


class Place:
    """A right to one thread; give it back once, or several times."""

    def __init__(self, places: "Places") -> None:
        self._places: Places | None = places

    def give_back(self, *, moved: bool) -> None:
        """Let the next one go.

        Args:
            moved: the server answered; those who wait may go on waiting.
        """
        if self._places is not None:
            places, self._places = self._places, None
            places.release(moved=moved)


class Places:
    """The places of one lane."""

    def __init__(self, lane: Lane, count: int = PLACES) -> None:
        self._lane = lane
        self._free = asyncio.Semaphore(count)
        self._waiting: set[asyncio.Timeout] = set()

    async def take(self) -> Place:
        """Wait for a place as long as the lane moves.

        Raises:
            ApiError: 503, it does not.
        """
        try:
            async with asyncio.timeout(STALL_SECONDS) as limit:
                self._waiting.add(limit)
                try:
                    await self._free.acquire()
                finally:
                    self._waiting.discard(limit)
        except TimeoutError:
            message = f"Too many calls wait for the {self._lane} already: ask again later."
            raise refuse_with(
                HTTPStatus.SERVICE_UNAVAILABLE, Problem(code=f"{self._lane}_unavailable", message=message)
            ) from None
        return Place(self)

    def release(self, *, moved: bool) -> None:
        """Free a place."""
        self._free.release()
        if moved:
            later = asyncio.get_running_loop().time() + STALL_SECONDS
            for limit in self._waiting:
                limit.reschedule(later)


class Lanes:
    """The lanes of one app."""

    def __init__(self) -> None:
        self._places = {lane: Places(lane) for lane in Lane}

    def __getitem__(self, lane: Lane) -> Places:
        return self._places[lane]

    @asynccontextmanager
    async def use(self, lane: Lane) -> AsyncIterator[None]:
        """Hold a place for a block.

        Raises:
            ApiError: 503, see `Places.take`.
        """
        place = await self[lane].take()
        moved = False
        try:
            yield
            moved = True
        finally:
            place.give_back(moved=moved)
