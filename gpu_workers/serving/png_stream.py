"""Answers that are sent while a thread still makes them."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import closing, suppress
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request

Item = TypeVar("Item")

#: Bytes of one write. The server frames each in a copy of its own, and a copy of 128 KiB or more is memory
#: that the C library fetches from the system page by page, and gives back (mallopt(3), M_MMAP_THRESHOLD).
WRITE_BYTES = 120 * 1024


async def iterate_thread(pieces: Generator[Item]) -> AsyncGenerator[Item]:
    """Yield what an iterator yields in a thread, as soon as it is there.

    The thread never waits for a slow reader: what it made is kept until it is asked for, and the thread is
    free for others. Where the caller stops, be it before a thread was free or half way, the iterator is
    closed before its next piece.

    Raises:
        Exception: what the iterator raises, after its last piece.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[Item | None] = asyncio.Queue()
    unwanted = threading.Event()

    def hand_over(piece: Item | None) -> None:
        # The loop of a server that was ended is closed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(made.put_nowait, piece)

    def run() -> None:
        try:
            with closing(pieces):
                while not unwanted.is_set() and (piece := next(pieces, None)) is not None:
                    hand_over(piece)
        finally:
            hand_over(None)

    work = loop.run_in_executor(None, run)
    try:
        while (piece := await made.get()) is not None:
            yield piece
        await work
    finally:
        unwanted.set()
        # Its error concerns nobody any more.
        work.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


async def iterate_apart(chunks: Iterator[bytes], threads: CapacityLimiter) -> AsyncIterator[bytes]:
    """Yield what a blocking iterator yields, in threads that others do not wait for."""
    while (chunk := await to_thread.run_sync(next, chunks, None, limiter=threads)) is not None:
        yield chunk


async def take_first(pieces: AsyncGenerator[Item], request: Request) -> Item:
    """Return the first piece; where the client leaves before it is there, stop its iterator.

    Args:
        pieces: what `iterate_thread` returned.
        request: its body is read.
    Raises:
        ClientDisconnect: nobody waits for the answer any more.
        Exception: what the iterator raises.
    """
    first, left = asyncio.ensure_future(anext(pieces)), asyncio.create_task(_wait_until_left(request))
    try:
        await asyncio.wait([first, left], return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            raise ClientDisconnect
        return first.result()
    finally:
        first.cancel()
        left.cancel()


async def _wait_until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def cut_writes(parts: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    """Yield joined parts in writes that the server sends best."""
    held: list[memoryview] = []
    room = WRITE_BYTES
    for part in parts:
        view = memoryview(part)
        while len(view) >= room:
            yield b"".join([*held, view[:room]]) if held else view[:room]
            view, held, room = view[room:], [], WRITE_BYTES
        held.append(view)
        room -= len(view)
    if room < WRITE_BYTES:
        yield b"".join(held)
