"""`POST /v1/reconstruct` while the answer is being made: cut answers, clients that leave, slow clients."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException

import httpx
import numpy as np
import pytest
import structlog
import uvicorn

from assets.png import Piece, encode_png, stream_filtered_png
from bench.gpu.http import MapClient, is_whole
from face3d.errors import EngineUnavailable, ErrorCode, RefusedError
from face3d.options import JobOptions
from gpu_workers.serving.png_stream import WRITE_BYTES, cut_writes
from web.reconstruct import create_reconstruct_app
from web.server import make_config

#: Larger than what the sockets of both sides hold.
LARGE = 64 * 2**20


class StandIn:
    """What the app sees of `OneShotReconstructor`; a test says what comes out."""

    def __init__(self) -> None:
        self.make: Callable[[], Iterator[Piece]] = lambda: iter([[b"a map"]])
        #: Photos whose work was begun.
        self.started: list[bytes] = []

    def stream(self, photo: bytes, options: JobOptions, product: str) -> Generator[Piece]:
        self.started.append(photo)
        yield from self.make()


@contextmanager
def serving(stand_in: StandIn) -> Iterator[str]:
    app = create_reconstruct_app(stand_in, limit=1000)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(make_config(app, log_config=None))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture(scope="module")
def url(stand_in: StandIn) -> Iterator[str]:
    with serving(stand_in) as url:
        yield url


def post(url: str, product: str = "png") -> httpx.Response:
    return httpx.post(f"{url}/v1/reconstruct", params={"product": product}, content=b"photo")


def send_request(url: str) -> socket.socket:
    """Ask for a map and read nothing."""
    client = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
    client.sendall(b"POST /v1/reconstruct HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\nphoto")
    return client


def works(url: str, stand_in: StandIn) -> bool:
    stand_in.make = lambda: iter([[b"another "], [b"m", b"ap"]])
    return post(url).content == b"another map"


def filtered_bands(image: np.ndarray, count: int) -> list[np.ndarray]:
    rows = image.reshape(len(image), -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.hstack([np.full((len(rows), 1), 2, np.uint8), rows - above])
    return np.array_split(filtered, count)


def test_the_answer_is_the_file_in_memory_byte_for_byte(url: str, stand_in: StandIn) -> None:
    image = np.random.default_rng(0).integers(0, 9, (512, 512, 3), np.uint8)
    bands = [lambda rows=rows: rows for rows in filtered_bands(image, 16)]
    with ThreadPoolExecutor(2) as pool:
        stand_in.make = lambda: stream_filtered_png(512, 512, bands, pool)
        answer = post(url)
        seconds = MapClient(url).ask(b"photo", "png")
    assert answer.content == encode_png(image, bands=16)
    assert answer.headers["content-type"] == "image/png"
    assert seconds > 0


def test_what_comes_in_one_piece_says_its_length(url: str, stand_in: StandIn) -> None:
    whole = bytes(range(256)) * 2000
    stand_in.make = lambda: iter([[whole]])
    answer = post(url, "glb")
    assert answer.content == whole
    assert answer.headers["content-length"] == str(len(whole))
    assert "transfer-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RefusedError(ErrorCode.TOO_DARK, "The photo is too dark.", value=1.0, limit=2.0), 422, "too_dark"),
        (EngineUnavailable("The machine is too busy."), 503, "engine_unavailable"),
        (RuntimeError("CUDA"), 500, "internal_error"),
    ],
)
def test_an_error_before_the_first_byte_has_its_own_answer(
    url: str, stand_in: StandIn, error: Exception, status: int, code: str
) -> None:
    def fail() -> Iterator[Piece]:
        raise error
        yield []

    stand_in.make = fail
    answer = post(url)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert works(url, stand_in)


def test_an_error_after_the_first_byte_cuts_the_connection_and_is_logged(url: str, stand_in: StandIn) -> None:
    def fail_later() -> Iterator[Piece]:
        yield [b"half a map"]
        raise MemoryError

    stand_in.make = fail_later
    with structlog.testing.capture_logs() as logs, pytest.raises(httpx.RemoteProtocolError):
        post(url)
    told = {"event": "answer cut short", "code": "internal_error", "error": "MemoryError"}
    assert [told.items() <= line.items() for line in logs].count(True) == 1
    with pytest.raises(HTTPException):
        MapClient(url).ask(b"photo", "png")
    assert works(url, stand_in)


def test_a_client_that_leaves_half_way_leaves_nothing_running(url: str, stand_in: StandIn) -> None:
    ended, made = threading.Event(), []

    def make() -> Iterator[Piece]:
        try:
            for number in range(6000):
                made.append(number)
                yield [b"piece"]
                time.sleep(0.01)
        finally:
            ended.set()

    stand_in.make = make
    with send_request(url) as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    assert ended.wait(30)
    assert len(made) < 6000
    assert works(url, stand_in)


def test_a_client_that_leaves_while_its_photo_waits_costs_nothing(url: str, stand_in: StandIn) -> None:
    stand_in.started.clear()
    go_on, ended = threading.Event(), []

    def make() -> Iterator[Piece]:
        go_on.wait(30)
        try:
            yield [b"first"]
            yield [b"second"]
            ended.append("whole")
        finally:
            ended.append("closed")

    stand_in.make = make
    # More than the server has threads.
    clients = [send_request(url) for _ in range(50)]
    until = time.monotonic() + 30
    while not stand_in.started and time.monotonic() < until:
        time.sleep(0.01)
    for client in clients:
        client.close()
    # What the server answers now it has read after the clients' ends.
    for _ in range(3):
        assert httpx.get(f"{url}/health").json() == {"state": "ready"}
    started = len(stand_in.started)
    assert 0 < started < len(clients)
    go_on.set()
    assert works(url, stand_in)
    assert len(stand_in.started) == started + 1
    assert "whole" not in ended


def test_a_client_that_leaves_is_no_error_of_ours(
    url: str, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in.started.clear()
    with structlog.testing.capture_logs() as logs:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.sendall(
                b"POST /v1/reconstruct HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\nhalf"
            )
        assert works(url, stand_in)
    assert stand_in.started == [b"photo"]
    assert not logs
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_slow_client_holds_up_nobody(url: str, stand_in: StandIn) -> None:
    made = threading.Event()

    def make() -> Iterator[Piece]:
        for _ in range(64):
            yield [bytes(LARGE // 64)]
        made.set()

    stand_in.make = make
    with send_request(url) as slow:
        assert slow.recv(1000).startswith(b"HTTP/1.1 200")
        assert made.wait(10), "the thread that makes a map does not wait for who reads it"
        assert httpx.get(f"{url}/health", timeout=5).json() == {"state": "ready"}
        assert works(url, stand_in)
        read = 0
        slow.settimeout(10)
        while read < LARGE:
            read += len(slow.recv(2**20))
    assert works(url, stand_in)


@pytest.mark.parametrize(
    "sizes", [[], [0], [1], [0, 1, 2], [WRITE_BYTES], [8, 3 * WRITE_BYTES, 7, 4], [WRITE_BYTES - 1, 1, 1]]
)
def test_writes_are_the_parts_joined_and_none_is_long(sizes: list[int]) -> None:
    parts = [np.random.default_rng(size).bytes(size) for size in sizes]
    writes = [bytes(write) for write in cut_writes(parts)]
    assert b"".join(writes) == b"".join(parts)
    assert all(len(write) == WRITE_BYTES for write in writes[:-1])
    assert all(0 < len(write) <= WRITE_BYTES for write in writes)


def test_a_damaged_file_is_noticed() -> None:
    file = encode_png(np.zeros((64, 64, 3), np.uint8))
    assert is_whole(memoryview(file), "png")
    assert not is_whole(memoryview(file[:-1]), "png")
    assert not is_whole(memoryview(file[:60] + bytes([file[60] ^ 1]) + file[61:]), "png")
    assert not is_whole(memoryview(b""), "png")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8090"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
    ],
)
def test_pages_of_other_sites_reach_nothing(url: str, stand_in: StandIn, headers: dict[str, str]) -> None:
    stand_in.started.clear()
    answer = httpx.post(f"{url}/v1/reconstruct", content=b"photo", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert httpx.get(f"{url}/health", headers=headers).status_code == 403
    assert not stand_in.started


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_programs_and_pages_of_this_machine_are_served(url: str, stand_in: StandIn, name: str) -> None:
    stand_in.make = lambda: iter([[b"a map"]])
    host = f"{name}:{url.rpartition(':')[2]}"
    for headers in ({"Host": host}, {"Host": host, "Origin": f"http://{host}"}):
        assert httpx.post(f"{url}/v1/reconstruct", content=b"photo", headers=headers).content == b"a map"


def test_every_answer_carries_the_security_headers(url: str, stand_in: StandIn) -> None:
    def fail() -> Iterator[Piece]:
        raise RuntimeError
        yield []

    stand_in.make = fail
    answers = [
        post(url),
        httpx.get(f"{url}/health"),
        httpx.get(f"{url}/nothing"),
        httpx.get(f"{url}/health", headers={"Host": "evil.example"}),
        httpx.post(f"{url}/v1/reconstruct", content=bytes(2000)),
    ]
    assert [answer.status_code for answer in answers] == [500, 200, 404, 403, 413]
    assert answers[-1].json() == {
        "code": "image_too_large",
        "message": "1000 bytes may be sent here, not more.",
        "value": 2000,
        "limit": 1000,
    }
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
