"""What strangers and slow clients cost the web server: little, for a short time, and nobody else."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Response

from compose.local import Stack
from face3d.settings import Settings
from tests.integration.web_process import web_process
from web import app as web_app
from web import server
from web.app import create_app
from web.middleware import bodies
from web.server import make_config

#: A socket's buffers of both sides, and what is read on after a refusal: no part of the server's memory.
ON_THE_WAY = 24 * 2**20

MUCH = 150 * 2**20

#: An answer that no socket's buffers hold.
LARGE = 64 * 2**20


@contextlib.contextmanager
def serving(app: FastAPI) -> Iterator[int]:
    """Serve an app in a thread; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = uvicorn.Server(make_config(app, log_config=None))
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def app(servers: Settings) -> FastAPI:
    app = create_app(servers)

    @app.get("/fails")
    def fail() -> None:
        raise RuntimeError

    @app.get("/large")
    def send_much() -> Response:
        return Response(bytes(LARGE))

    return app


@pytest.fixture(scope="module")
def port(app: FastAPI) -> Iterator[int]:
    with serving(app) as port:
        yield port


@pytest.fixture
def api(servers: Settings) -> str:
    return f"Authorization: Bearer {servers.api_token.get_secret_value()}"


def request(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", "Host: face3d", *headers, "", ""]).encode()


Answer = tuple[int, dict[str, str], dict[str, object]]


def answer_to(client: socket.socket, seconds: float = 5) -> Answer:
    """Return status, headers and JSON of an answer."""
    client.settimeout(seconds)
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(client)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += receive(client)
    kind = headers["content-type"]
    return int(first.split()[1]), headers, json.loads(body) if kind == "application/json" else {}


def receive(client: socket.socket) -> bytes:
    data = client.recv(2**16)
    assert data, "the connection ended before the answer did"
    return data


@pytest.mark.parametrize(
    "line",
    [
        "POST /v1/webhooks",
        "POST /v1/jobs",
        "DELETE /v1/jobs/x",
        "POST /v1/nothing",
        "POST /events/storage/s3",
        "POST /metrics",
    ],
)
def test_the_token_is_asked_before_the_body_is_sent(port: int, line: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request(line, f"Content-Length: {MUCH}", "Content-Type: application/json"))
        status, headers, problem = answer_to(client)
        # And no more is read.
        assert client.recv(1) == b""
    assert (status, problem["code"]) == (401, "unauthorized")
    assert headers["connection"] == "close"


def test_a_client_that_waits_for_leave_sends_nothing(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request("POST /v1/jobs", f"Content-Length: {MUCH}", "Expect: 100-continue"))
        assert answer_to(client)[0] == 401


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("POST /v1/webhooks", "request_too_large"),
        ("POST /session", "request_too_large"),
        ("POST /v1/jobs/x/cancel", "request_too_large"),
        ("POST /nowhere", "request_too_large"),
        ("POST /v1/jobs", "image_too_large"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_while_it_comes(
    port: int, api: str, servers: Settings, line: str, code: str, chunked: bool
) -> None:
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {MUCH}"
    form = "Content-Type: multipart/form-data; boundary=x"
    if line == "POST /session":
        form = "Content-Type: application/x-www-form-urlencoded"
    piece = b"token=" + b"a" * (2**20 - 6)
    frame = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
    sent, answered = 0, threading.Event()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request(line, length, api, form))
        if line == "POST /v1/jobs":
            start = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
            client.sendall(b"%x\r\n%s\r\n" % (len(start), start) if chunked else start)

        said: list[Answer] = []

        def read() -> None:
            with contextlib.suppress(OSError):
                said.append(answer_to(client, 30))
            answered.set()

        reader = threading.Thread(target=read)
        reader.start()
        with contextlib.suppress(OSError):
            while sent < MUCH and not answered.is_set():
                client.sendall(frame)
                sent += len(piece)
        reader.join()
    allowed = servers.max_bytes if line == "POST /v1/jobs" else 64 * 1024
    ((status, headers, problem),) = said
    assert (status, problem["code"], problem["limit"]) == (413, code, allowed)
    assert headers["connection"] == "close"
    assert sent < allowed + ON_THE_WAY


def test_events_have_a_limit_of_their_own(port: int, servers: Settings) -> None:
    headers = {"Authorization": f"Bearer {servers.event_token.get_secret_value()}"}
    url = f"http://127.0.0.1:{port}/events/storage/s3"
    fits = httpx.post(url, headers=headers, content=b" " * 2**20)
    assert (fits.status_code, fits.json()["code"]) == (400, "invalid_event")
    large = httpx.post(url, headers=headers, content=b" " * (2**20 + 1))
    assert (large.status_code, large.json()["limit"]) == (413, 2**20)


def test_a_body_that_does_not_come_ends(port: int, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)
    for line in ("POST /v1/webhooks", "POST /v1/jobs", "POST /session", "POST /nowhere"):
        with socket.create_connection(("127.0.0.1", port)) as client:
            form = "Content-Type: multipart/form-data; boundary=x"
            client.sendall(request(line, "Content-Length: 60000", form, api) + b"--x")
            status, headers, problem = answer_to(client)
        assert (status, problem["code"], headers["connection"]) == (408, "request_timeout", "close")


def test_a_body_that_trickles_ends_and_a_slow_one_does_not(
    port: int, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)
    monkeypatch.setattr(bodies, "PACE_BYTES_PER_SECOND", 1000)
    for bytes_at_once, expected in ((10, 408), (500, 422)):
        with socket.create_connection(("127.0.0.1", port)) as client:
            body = b'{"url": "ftp://x"}' + b" " * 4982
            kind = "Content-Type: application/json"
            client.sendall(
                request("POST /v1/webhooks", "Content-Length: 5000", kind, api, "Connection: close")
            )
            with contextlib.suppress(OSError):
                for at in range(0, len(body), bytes_at_once):
                    client.sendall(body[at : at + bytes_at_once])
                    time.sleep(0.1)
                    client.settimeout(0.001)
                    with contextlib.suppress(TimeoutError):
                        if client.recv(1, socket.MSG_PEEK):
                            break
                    client.settimeout(5)
            assert answer_to(client)[0] == expected


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nX-Slow: a"])
def test_headers_that_do_not_come_end(port: int, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(begun)
        # One byte in a while does not help.
        started = time.monotonic()
        client.settimeout(0.1)
        data = b""
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - started < 5:
                with contextlib.suppress(TimeoutError):
                    data = client.recv(2**16)
                    break
                if begun:
                    client.sendall(b"a")
        assert time.monotonic() - started < 3
        assert data.startswith(b"HTTP/1.1 408") if begun else data == b""


def test_the_second_request_of_a_connection_has_no_more_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request("GET /healthz"))
        assert client.recv(2**16).startswith(b"HTTP/1.1 200")
        client.sendall(b"GET /healthz HT")
        assert answer_to(client, seconds=3)[0] == 408


def test_a_client_that_takes_nothing_is_left(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALL_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request("GET /large"))
        time.sleep(1.5)
        client.settimeout(5)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while chunk := client.recv(2**20):
                taken += len(chunk)
    assert taken < LARGE


def test_idle_connections_keep_nobody_out(server_stack: Stack, tmp_path: Path) -> None:
    env_file = server_stack.layout.env_file
    with (
        web_process(server_stack.settings, env_file, tmp_path, descriptors=96) as web,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(150):
            stack.enter_context(socket.create_connection(("127.0.0.1", web.port)))
        for _ in range(20):
            assert web.ask("GET", "/healthz", timeout=5).is_success
            assert web.ask("GET", "/v1/jobs", timeout=5, headers=web.api).is_success
        assert web.log.stat().st_size < 50_000


def test_more_connections_than_there_are_places_hear_so(
    servers: Settings, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "count_connections", lambda: 5)
    with serving(create_app(servers)) as port, contextlib.ExitStack() as stack:
        for _ in range(5):
            busy = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            form = "Content-Type: multipart/form-data; boundary=x"
            busy.sendall(request("POST /v1/jobs", "Content-Length: 1000", "Expect: 100-continue", api, form))
            assert b" 100 " in busy.recv(1000)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(request("GET /healthz"))
            status, headers, problem = answer_to(client)
    assert (status, problem["code"]) == (503, "busy")
    assert int(headers["retry-after"]) > 0


def test_uploads_share_a_limit_of_memory(
    servers: Settings, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_app, "HELD_BYTES", 0)
    small = servers.model_copy(update={"max_bytes": 100_000})
    start = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
    form = "Content-Type: multipart/form-data; boundary=x"
    with serving(create_app(small)) as port, contextlib.ExitStack() as stack:
        for number in range(5):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(
                request("POST /v1/jobs", "Content-Length: 99000", form, api) + start + bytes(90_000)
            )
            if number < 4:
                with pytest.raises(TimeoutError):
                    answer_to(client, 0.2)
        status, headers, problem = answer_to(client)
        assert (status, problem["code"]) == (503, "busy")
        assert int(headers["retry-after"]) > 0
        # What others need does not count.
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").is_success


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("GET /"), 200),
        (b"nonsense\r\n\r\n", 400),
        (request("GET /v1/jobs"), 401),
        (request("GET /nowhere"), 404),
        (request("PUT /healthz"), 405),
        (request("POST /session", f"Content-Length: {MUCH}"), 413),
        (request("GET /fails"), 500),
        (request("GET /static/app.js"), 200),
    ],
)
def test_every_answer_carries_the_security_headers(port: int, sent: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(sent)
        answered, headers, problem = answer_to(client)
    assert answered == status
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    if status == 405:
        assert headers["allow"] == "GET"
    if status >= 400:
        assert set(problem) == {"code", "message", "value", "limit"}


def test_an_unavailable_server_says_when_to_ask_again(servers: Settings) -> None:
    away = servers.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    headers = {"Authorization": f"Bearer {away.api_token.get_secret_value()}"}
    with serving(create_app(away)) as port:
        url = f"http://127.0.0.1:{port}"
        answer = httpx.post(f"{url}/v1/jobs", headers=headers, files={"photo": b"x"}, timeout=15)
        ready = httpx.get(f"{url}/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    for refused in (answer, ready):
        assert int(refused.headers["retry-after"]) > 0
