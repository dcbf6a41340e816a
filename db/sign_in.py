"""Who is signed in to the page: sessions that end, and codes that open one, once.

The database keeps neither: only their HMAC under the API token, so that whoever reads the table can use
nothing of it, and a new token ends all sessions and codes.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from enum import StrEnum

from pydantic import SecretStr
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db.models import SignIn

#: Of a session.
SESSION_SECONDS = 7 * 24 * 3600

#: Of a code: time to open the link that was printed.
CODE_SECONDS = 15 * 60

#: Of a session's name or a code, bytes of randomness.
SECRET_BYTES = 32


class Kind(StrEnum):
    """What a row lets its holder do."""

    SESSION = "session"
    #: Open one session.
    CODE = "code"


def open_session(session: Session, token: SecretStr) -> str:
    """Return the name of a new session, good for a week."""
    return _make(session, token, Kind.SESSION, SESSION_SECONDS)


def make_code(session: Session, token: SecretStr) -> str:
    """Return a new code that opens one session within a quarter of an hour."""
    return _make(session, token, Kind.CODE, CODE_SECONDS)


def spend_code(session: Session, token: SecretStr, code: str) -> bool:
    """Return whether a code is good, and make it good no more."""
    return _remove(session, token, Kind.CODE, code)


def is_open(session: Session, token: SecretStr, name: str) -> bool:
    """Return whether a session has not ended."""
    query = select(SignIn.hash).where(SignIn.hash == _hash(token, Kind.SESSION, name))
    query = query.where(SignIn.kind == Kind.SESSION, SignIn.expires_at > func.now())
    return bool(token.get_secret_value()) and session.execute(query).first() is not None


def end_session(session: Session, token: SecretStr, name: str) -> None:
    """End a session; one that has ended is no error."""
    _remove(session, token, Kind.SESSION, name)


def _make(session: Session, token: SecretStr, kind: Kind, seconds: float) -> str:
    secret = secrets.token_urlsafe(SECRET_BYTES)
    # Two that sign in at once must not wait for each other's rows.
    ended = select(SignIn.hash).where(SignIn.expires_at <= func.now()).with_for_update(skip_locked=True)
    session.execute(delete(SignIn).where(SignIn.hash.in_(ended)))
    expires = func.now() + timedelta(seconds=seconds)
    session.add(SignIn(hash=_hash(token, kind, secret), kind=kind, expires_at=expires))
    session.flush()
    return secret


def _remove(session: Session, token: SecretStr, kind: Kind, secret: str) -> bool:
    """Delete a row and return whether it was good: of two at once, one finds it."""
    query = delete(SignIn).where(SignIn.hash == _hash(token, kind, secret), SignIn.kind == kind)
    good = session.execute(query.returning(SignIn.expires_at > func.now())).scalar_one_or_none()
    return bool(good) and bool(token.get_secret_value())


def _hash(token: SecretStr, kind: Kind, secret: str) -> str:
    key = token.get_secret_value().encode()
    return hmac.new(key, f"face3d-{kind}:{secret}".encode(), hashlib.sha256).hexdigest()
