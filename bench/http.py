"""A photo in and a map out over HTTP, one request: from the request's first byte to the answer's last."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.report import ROUND_HEAD, describe_run, round_rows, table, write_csv
from face3d.errors import Face3DError
from face3d.settings import ROOT

_WARM_UPS = 24
#: Seconds that the server may take until it answers, and for one photo.
_START, _PATIENCE = 180.0, 60.0


class ServerMissing(Face3DError):
    """The server under test did not start, or refused a photo."""


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
    with serve(model_dir, device) as (url, _), httpx.Client(base_url=url, timeout=_PATIENCE) as client:
        rows: list[dict[str, object]] = []
        for product in ("png", "jpeg"):
            for photo in photos[: min(_WARM_UPS, len(photos))]:
                _ask(client, photo, product)
            measured = []
            for number in range(rounds):
                times = [_ask(client, photo, product) for photo in photos[number::rounds]]
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


def _ask(client: httpx.Client, photo: bytes, product: str) -> float:
    started = time.perf_counter()
    answer = client.post("/v1/reconstruct", params={"product": product}, content=photo)
    seconds = time.perf_counter() - started
    if answer.status_code != 200:
        raise ServerMissing(f"The server answered {answer.status_code}.")
    return seconds
