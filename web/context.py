"""What every request needs, made once an app."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from sqlalchemy.orm import Session, sessionmaker
from starlette.requests import HTTPConnection

from face3d.settings import Settings
from storage.client import Storage
from storage.sns import SnsClient


@dataclass(frozen=True, kw_only=True)
class Context:
    """The app's settings and its ways to database and storage."""

    settings: Settings
    sessions: sessionmaker[Session]
    storage: Storage
    sns: SnsClient = field(default_factory=SnsClient)


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
