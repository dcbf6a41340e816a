"""Customers' servers as they are: some answer, some hang, some trickle; each notes what it got and when."""

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Answers one request on an open connection, after the request was read.
Behaviour = Callable[[socket.socket], None]

#: An impatient test's end of what would go on for ever, seconds.
_FOREVER = 30.0


def answer_ok(connection: socket.socket) -> None:
    """Answer at once."""
    connection.sendall(b"HTTP/1.1 204 No Content\r\nset-cookie: who=me\r\n\r\n")


def hang(connection: socket.socket) -> None:
    """Never answer."""
    connection.settimeout(_FOREVER)
    connection.recv(1)


def trickle_headers(connection: socket.socket) -> None:
    """Send a header, a byte at a time, without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nx-slow: ")
    for _ in range(int(_FOREVER / 0.1)):
        connection.sendall(b"a")
        time.sleep(0.1)


def trickle_refusal(connection: socket.socket) -> None:
    """Refuse, and give the reason a byte at a time."""
    connection.sendall(b"HTTP/1.1 500 No\r\ncontent-length: 100000\r\n\r\n")
    for _ in range(int(_FOREVER / 0.1)):
        connection.sendall(b"a")
        time.sleep(0.1)


@dataclass
class Request:
    """One request as the server saw it; times are monotonic seconds."""

    headers: dict[str, str]
    body: bytes
    began: float
    ended: float | None = None

    @property
    def id(self) -> str:
        """The message's id."""
        return self.headers["webhook-id"]

    @property
    def job_id(self) -> str:
        """The job that the message is about."""
        return str(json.loads(self.body)["data"]["job_id"])


@dataclass
class Server:
    """An HTTP server of raw sockets on loopback."""

    behaviour: Behaviour = answer_ok
    context: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    #: 0: any that is free.
    port: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port), backlog=200)
        self.port = self._socket.getsockname()[1]
        self.url = f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening; without the shutdown the thread in `accept` would take one more connection."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def overlaps(self) -> int:
        """Return how many requests of one message ran side by side with another of it."""
        return sum(
            one.id == other.id and one.began < other.began < (one.ended or time.monotonic())
            for one in self.requests
            for other in self.requests
        )

    def most_at_once(self) -> int:
        """Return how many requests were open at once at most."""
        now = time.monotonic()
        return max(
            (
                sum(one.began <= other.began < (one.ended or now) for one in self.requests)
                for other in self.requests
            ),
            default=0,
        )

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Any) -> None:
        with contextlib.ExitStack() as open_ones:
            open_ones.enter_context(contextlib.suppress(OSError))
            open_ones.enter_context(connection)
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
                open_ones.enter_context(connection)
            data = b""
            while b"\r\n\r\n" not in data:
                data += _some(connection)
            head, _, body = data.partition(b"\r\n\r\n")
            pairs = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            headers = {name.lower(): value for name, value in pairs}
            while len(body) < int(headers["content-length"]):
                body += _some(connection)
            request = Request(headers, body, time.monotonic())
            self.requests.append(request)
            try:
                self.behaviour(connection)
            finally:
                request.ended = time.monotonic()


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise OSError("the client has left")
    return data
