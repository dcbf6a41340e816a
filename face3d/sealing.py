"""Secrets at rest: sealed with the key that the settings name, readable by no copy of the database alone."""

import base64
import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from face3d.errors import Face3DError
from face3d.settings import Settings

#: Not ASCII, so no base64: what takes a stored text for the secret itself fails, and signs nothing with it.
_PREFIX = "§sealed:"


class SecretUnreadable(Face3DError):
    """A stored secret cannot be opened: FACE3D_SECRET_KEY is not the one that sealed it."""


class SecretBox:
    """Seals and opens texts with Fernet (AES-128-CBC, HMAC-SHA-256).

    Args:
        keys: texts of any length; the first seals, all open. Without any, texts stay as they are.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        fernets = [Fernet(_fernet_key(key)) for key in keys]
        self._first = fernets[0] if fernets else None
        self._all = MultiFernet(fernets) if fernets else None

    @classmethod
    def from_settings(cls, settings: Settings) -> "SecretBox":
        """Return the box of `secret_key`: one key, or several with commas between them, newest first."""
        keys = settings.secret_key.get_secret_value().split(",")
        return cls([key.strip() for key in keys if key.strip()])

    @property
    def seals(self) -> bool:
        """Return whether there is a key."""
        return self._first is not None

    def seal(self, secret: str) -> str:
        """Return a text as it is stored."""
        return secret if self._first is None else _PREFIX + self._first.encrypt(secret.encode()).decode()

    def open(self, stored: str) -> str:
        """Return the text behind what is stored, sealed or not.

        Raises:
            SecretUnreadable: none of the keys opens it.
        """
        if not stored.startswith(_PREFIX):
            return stored
        try:
            if self._all is None:
                raise SecretUnreadable
            return self._all.decrypt(stored.removeprefix(_PREFIX)).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def is_current(self, stored: str) -> bool:
        """Return whether a stored text needs no new sealing: the first key opens it, or there is no key."""
        if self._first is None:
            return True
        if not stored.startswith(_PREFIX):
            return False
        try:
            self._first.decrypt(stored.removeprefix(_PREFIX))
        except InvalidToken:
            return False
        return True


def _fernet_key(text: str) -> bytes:
    """Return a Fernet key of any text; the text is a random key, so no slow derivation is needed."""
    return base64.urlsafe_b64encode(hashlib.sha256(b"face3d secret box\0" + text.encode()).digest())
