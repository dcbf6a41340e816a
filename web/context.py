"""What every request needs, made once an app."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, TypeVar

from anyio import CapacityLimiter
from fastapi import Depends
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from db.session import Patience, make_engine
from face3d.settings import Settings
from storage.client import Storage
from storage.sns import SnsClient
from web.middleware.lanes import PLACES, Lane, Lanes
from web.watch import Watch, watch_servers

#: A call that waits for the database ends within ten seconds, whatever of it hangs.
PATIENCE = Patience(
    # A place of a lane may hold a connection, and followers share another.
    statement=5.0,
    lock=4.0,
    connect=3,
    free=2.0,
    connections=PLACES * len(Lane) + 1,
)

#: Connections that are kept while nothing goes on.
KEPT_CONNECTIONS = 8


Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Context:
    """The app's settings, its ways to database and storage, and the places of those who wait for them."""

    settings: Settings
    sessions: sessionmaker[Session]
    storage: Storage
    watch: Watch
    sns: SnsClient = field(default_factory=SnsClient)
    lanes: Lanes = field(default_factory=Lanes)
    #: Threads of answers that hand out a file of the storage.
    downloads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(PLACES))

    @classmethod
    def from_settings(cls, settings: Settings) -> "Context":
        """Return the context of a web process; it connects when something is first needed."""
        watch = watch_servers(settings)
        engine = make_engine(
            settings,
            pool_size=KEPT_CONNECTIONS,
            patience=PATIENCE,
            is_away=partial(watch.is_away, "database"),
        )
        return cls(
            settings=settings,
            sessions=sessionmaker(engine, expire_on_commit=False),
            storage=Storage.from_settings(settings, quick=True, is_away=partial(watch.is_away, "storage")),
            watch=watch,
        )

    def close(self) -> None:
        """End the connections."""
        self.watch.stop()
        engine: Engine = self.sessions.kw["bind"]
        engine.dispose()

    async def ask_database(self, ask: Callable[[Session], Answer]) -> Answer:
        """Return what a function finds in the database, in one transaction; for async code.

        Raises:
            ApiError: 503, too many wait already.
        """

        def run() -> Answer:
            with self.sessions.begin() as session:
                return ask(session)

        async with self.lanes.use(Lane.DATABASE):
            return await run_in_threadpool(run)


def get_context(connection: HTTPConnection) -> Context:
    """Return the app's context."""
    context: Context = connection.app.state.context
    return context


async def provide_context(connection: HTTPConnection) -> Context:
    """Return the app's context to an endpoint: async, for FastAPI sends plain functions to a thread each."""
    return get_context(connection)


ContextOf = Annotated[Context, Depends(provide_context)]


def open_session(context: ContextOf) -> Iterator[Session]:
    """Yield a session whose transaction the endpoint commits; what it leaves open is rolled back."""
    with context.sessions() as session:
        yield session


SessionOf = Annotated[Session, Depends(open_session)]
