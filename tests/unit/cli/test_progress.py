"""Followers of jobs: one look at the database a tick for all of them, and none misses the end."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from face3d.states import JobState
from web import progress
from web.progress import Followers


class View(BaseModel):
    """What `Followers` sees of a `JobView`."""

    id: str
    state: JobState
    percent: float = 0.0


class Database:
    """Jobs whose progress a test decides."""

    def __init__(self, count: int) -> None:
        self.views = {
            f"job {number}": View(id=f"job {number}", state=JobState.RUNNING) for number in range(count)
        }
        self.looks: list[datetime] = []
        self.away = False

    def load(self, job_ids: Collection[str]) -> dict[str, View]:
        self.looks.append(datetime.now(UTC))
        if self.away:
            raise ConnectionError
        return {job_id: self.views[job_id] for job_id in job_ids if job_id in self.views}

    def set(self, **values: object) -> None:
        self.views = {name: view.model_copy(update=values) for name, view in self.views.items()}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(progress, "KEEP_ALIVE_SECONDS", 0.2)


async def hear(followers: Followers, view: View) -> list[str]:
    return [text async for text in followers.follow(view)]


def test_a_hundred_followers_are_one_look_a_tick() -> None:
    database = Database(100)

    async def run() -> list[list[str]]:
        followers = Followers(database.load)
        tasks = [asyncio.create_task(hear(followers, view)) for view in database.views.values()]
        await asyncio.sleep(0.3)
        database.set(percent=50.0)
        await asyncio.sleep(0.3)
        database.set(state=JobState.READY)
        return await asyncio.gather(*tasks)

    heard = asyncio.run(run())
    for told in heard:
        events = [text for text in told if text.startswith("event: job")]
        assert ['"percent":50.0' in event for event in events] == [False, True, True]
        assert '"ready"' in events[-1]
        assert told[-1] == "event: end\ndata: {}\n\n"
    assert 4 < len(database.looks) < 20


def test_nobody_looks_when_nobody_follows() -> None:
    database = Database(1)

    async def run() -> int:
        followers = Followers(database.load)
        task = asyncio.create_task(hear(followers, database.views["job 0"]))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.sleep(0.15)
        looks = len(database.looks)
        await asyncio.sleep(0.3)
        return len(database.looks) - looks

    assert asyncio.run(run()) == 0


def test_a_database_that_is_away_ends_no_stream() -> None:
    database = Database(1)

    async def run() -> list[str]:
        followers = Followers(database.load)
        database.away = True
        task = asyncio.create_task(hear(followers, database.views["job 0"]))
        await asyncio.sleep(0.5)
        database.away = False
        database.set(state=JobState.READY)
        return await task

    told = asyncio.run(run())
    assert ": still here\n\n" in told
    assert told[-1] == "event: end\ndata: {}\n\n"


def test_one_who_comes_late_hears_what_others_heard_before() -> None:
    database = Database(1)
    (old,) = database.views.values()

    async def run() -> list[str]:
        followers = Followers(database.load)
        first = asyncio.create_task(hear(followers, old))
        database.set(percent=70.0)
        await asyncio.sleep(0.2)
        # Its own look at the job was before that of the others.
        second = asyncio.create_task(hear(followers, old))
        await asyncio.sleep(0.2)
        database.set(state=JobState.READY)
        await first
        return await second

    assert any('"percent":70.0,' in text or '"percent":70.0}' in text for text in asyncio.run(run()))


def test_a_job_that_is_gone_ends_its_stream() -> None:
    database = Database(1)

    async def run() -> list[str]:
        (view,) = database.views.values()
        database.views.clear()
        return await asyncio.wait_for(hear(Followers(database.load), view), 5)

    assert len(asyncio.run(run())) == 1
