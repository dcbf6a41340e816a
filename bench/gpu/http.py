"""A photo in and a map out over HTTP, one request: from the request's first byte to the answer's last."""

import http.client
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from bench.report import ROUND_HEAD, describe_run, round_rows, table, write_csv
from face3d.errors import Face3DError
from face3d.settings import ROOT

_WARM_UPS = 24
#: Seconds that the server may take until it answers, and for one photo.
_START, _PATIENCE = 180.0, 60.0
#: Room for an answer: the largest is a 4096 x 4096 PNG that cannot be made smaller.
_ANSWER_BYTES = 64 * 2**20


class ServerMissing(Face3DError):
    """The server under test did not start, refused a photo, or answered with a damaged file."""


class MapClient:
    """Asks for maps, each on a connection of its own; for one thread at a time.

    It reads into memory that it keeps: an HTTP library that collects an answer in pieces and joins them takes
    longer for that than the server for sending them.
    """

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix("http://")
        self._answer = memoryview(bytearray(_ANSWER_BYTES))

    def ask(self, photo: bytes, product: str) -> float:
        """Return the seconds from before the connection to the answer's last byte; then look at the file.

        Raises:
            ServerMissing: another status than 200, or a file that is not whole.
            OSError, http.client.HTTPException: the connection failed.
        """
        started = time.perf_counter()
        with closing(http.client.HTTPConnection(self._address, timeout=_PATIENCE)) as connection:
            connection.request("POST", f"/v1/reconstruct?product={product}", photo)
            answer = connection.getresponse()
            size = 0
            while count := answer.readinto(self._answer[size:]):
                size += count
            seconds = time.perf_counter() - started
        if answer.status != 200:
            raise ServerMissing(f"The server answered {answer.status}.")
        if not is_whole(self._answer[:size], product):
            raise ServerMissing(f"The server's {product} is damaged.")
        return seconds


def is_whole(file: memoryview, product: str) -> bool:
    """Return whether a file has its beginning and its end, and a PNG every checksum right."""
    if product == "jpeg":
        return bytes(file[:2]) == b"\xff\xd8" and bytes(file[-2:]) == b"\xff\xd9"
    if product == "glb":
        return bytes(file[:4]) == b"glTF" and struct.unpack_from("<I", file, 8)[0] == len(file)
    kind, place = b"", 8
    while place + 12 <= len(file):
        (length,) = struct.unpack_from(">I", file, place)
        end = place + 8 + length
        if end + 4 > len(file) or struct.unpack_from(">I", file, end)[0] != zlib.crc32(file[place + 4 : end]):
            return False
        kind, place = bytes(file[place + 4 : place + 8]), end + 4
    return bytes(file[:8]) == b"\x89PNG\r\n\x1a\n" and kind == b"IEND" and place == len(file)


def bench_http(
    *,
    model_dir: Path,
    device: str,
    photos: Sequence[bytes],
    rounds: int,
    csv: Path | None,
    say: Callable[[str], None],
) -> None:
    """Measure and print. It passes no queue, and one request is under way at a time."""
    described = describe_run(n=len(photos), device=device)
    say(described)
    with serve(model_dir, device) as (url, _):
        client = MapClient(url)
        rows: list[dict[str, object]] = []
        for product in ("png", "jpeg"):
            for photo in photos[: min(_WARM_UPS, len(photos))]:
                client.ask(photo, product)
            measured = []
            for number in range(rounds):
                times = [client.ask(photo, product) for photo in photos[number::rounds]]
                measured.append({f"{product} over HTTP": times})
                rows += [{"product": product, "round": number, "ms": f"{1000 * t:.3f}"} for t in times]
            say(table(ROUND_HEAD, round_rows([f"{product} over HTTP"], measured)))
    if csv is not None:
        write_csv(csv, described, rows)


@contextmanager
def serve(model_dir: Path, device: str) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Yield the address and process of `web.reconstruct`, warm.

    Raises:
        ServerMissing: it did not start.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "web.reconstruct", "--device", device, "--port", str(port)]
    server = subprocess.Popen([*command, "--model-dir", str(model_dir.resolve())], cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, server)
        yield url, server
    finally:
        server.terminate()
        server.wait(30)


def _wait(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.get(f"{url}/health").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.2)
        else:
            return
    raise ServerMissing("The server under test did not start.")
