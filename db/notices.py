"""LISTEN/NOTIFY between the packages that write work and the relay that publishes it."""

from sqlalchemy import text
from sqlalchemy.orm import Session

#: The channel on which the relay listens.
RELAY_CHANNEL = "face3d_relay"


def notify_relay(session: Session) -> None:
    """Wake the relay when the session's transaction commits."""
    session.execute(text(f"NOTIFY {RELAY_CHANNEL}"))
