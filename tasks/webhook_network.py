"""A connection to a customer's server: only where we may go, and no longer than the request's deadline."""

import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore

from face3d.errors import Face3DError
from face3d.networks import is_public
from face3d.settings import Settings


class AddressRefused(Face3DError):
    """A webhook must not be sent to a private address."""


class DeadlineExceeded(Face3DError):
    """The receiver did not answer in time."""


class Deadline:
    """A moment at which a request has to be over.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left.

        Raises:
            DeadlineExceeded: none is.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded
        return left


class GuardedNetwork(httpcore.NetworkBackend):
    """Resolves a name, refuses what is not public, and connects to the very address that it examined.

    Every wait, the look-up included, ends at the deadline, whatever timeout the caller names. What libraries
    raise for a wait that was too long comes out as DeadlineExceeded.
    """

    def __init__(self, settings: Settings, deadline: Deadline) -> None:
        self._settings = settings
        self._deadline = deadline
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline's instead
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first allowed address that answers.

        Raises:
            AddressRefused: the port or every address is refused, or the name has none.
            DeadlineExceeded
        """
        check_port(port, self._settings)
        addresses = allowed_addresses(resolve(host, port, self._deadline), self._settings)
        for number, address in enumerate(addresses):
            share = self._deadline.remaining() / (len(addresses) - number)
            try:
                stream = self._network.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if number == len(addresses) - 1:
                    self._deadline.remaining()
                    raise
            else:
                return GuardedStream(stream, self._deadline)
        raise AddressRefused


class GuardedStream(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline: a trickle of bytes does not prolong it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Return what came, at most N bytes."""
        try:
            return self._stream.read(max_bytes, self._deadline.remaining())
        except httpcore.ReadTimeout:
            raise DeadlineExceeded from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send bytes; message bodies are small, so one share of time is enough for all."""
        try:
            self._stream.write(buffer, self._deadline.remaining())
        except httpcore.WriteTimeout:
            raise DeadlineExceeded from None

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Shake hands for the name in the URL, not for the address that was dialled."""
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.remaining())
        except httpcore.ConnectTimeout:
            raise DeadlineExceeded from None
        return GuardedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection knows of itself."""
        return self._stream.get_extra_info(info)


def check_port(port: int, settings: Settings) -> None:
    """Refuse ports that the settings do not name.

    Raises:
        AddressRefused
    """
    if not settings.webhook_allow_private and port not in settings.webhook_ports:
        allowed = ", ".join(str(number) for number in settings.webhook_ports)
        raise AddressRefused(f"Webhooks to port {port} are not allowed here, only to {allowed}.")


def allowed_addresses(addresses: Iterable[str], settings: Settings) -> list[str]:
    """Return the addresses that may be called: a customer's URL must not make our network talk to itself.

    Raises:
        AddressRefused: none may.
    """
    allowed = [address for address in addresses if settings.webhook_allow_private or is_public(address)]
    if not allowed:
        raise AddressRefused
    return allowed


def resolve(host: str, port: int, deadline: Deadline) -> list[str]:
    """Return a host's addresses, each once.

    The system's resolver knows no deadline, so it is asked in a thread that may be left behind.

    Raises:
        AddressRefused: the name has none.
        DeadlineExceeded
    """
    found: list[list[str]] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.append(list(dict.fromkeys(str(info[4][0]) for info in infos)))
        except Exception as error:
            failed.append(error)

    asking = threading.Thread(target=ask, name="resolve", daemon=True)
    asking.start()
    asking.join(deadline.remaining())
    if failed:
        raise AddressRefused("The host's name is not known.") from failed[0]
    if not found:
        raise DeadlineExceeded
    return found[0]
