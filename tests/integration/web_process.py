"""The web server as a process on real servers, and servers that are frozen for a while."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from compose.local.programs import ROOT
from face3d.settings import Settings
from tests.ports import free_ports

PHOTO = b"p" * 50_000


@dataclass
class WebProcess:
    """A running `python -m web`."""

    url: str
    settings: Settings
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def api(self) -> dict[str, str]:
        """Headers of a caller with the API token."""
        return {"Authorization": f"Bearer {self.settings.api_token.get_secret_value()}"}

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def ask(self, method: str, path: str, *, timeout: float = 30, **more: object) -> httpx.Response:
        """Call it over a connection of its own."""
        return httpx.request(method, self.url + path, timeout=timeout, trust_env=False, **more)

    def upload(self) -> httpx.Response:
        """Send a photo."""
        return self.ask("POST", "/v1/jobs", headers=self.api, files={"photo": ("a.jpg", PHOTO, "image/jpeg")})

    def announce(self, *keys: str) -> httpx.Response:
        """Send one event of several uploads."""
        bucket = {"name": self.settings.bucket_inbox}
        records = [
            {
                "eventVersion": "2.1",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": bucket, "object": {"key": key}},
            }
            for key in keys
        ]
        token = self.settings.event_token.get_secret_value()
        headers = {"Authorization": f"Bearer {token}"}
        return self.ask("POST", "/events/storage/s3", headers=headers, json={"Records": records})


@contextlib.contextmanager
def web_process(
    settings: Settings, env_file: Path, folder: Path, *, descriptors: int | None = None
) -> Iterator[WebProcess]:
    """Run a web server on a free port with a stack's settings and, where stated, few file descriptors."""
    limit = f"ulimit -n {descriptors}; " if descriptors else ""
    (port,) = free_ports(1)
    log = folder / "web.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["sh", "-c", f'{limit}exec "$0" -m web', sys.executable],
            cwd=ROOT,
            env={**os.environ, "FACE3D_ENV_FILE": str(env_file), "FACE3D_WEB_PORT": str(port)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    web = WebProcess(f"http://127.0.0.1:{port}", settings, process, log)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if web.ask("GET", "/readyz", timeout=3).is_success:
                    break
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield web
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Freeze a process and all its children for a block."""
    root = psutil.Process(pid)
    # The parent first: it makes no more children then.
    os.kill(pid, signal.SIGSTOP)
    children = root.children(recursive=True)
    for child in children:
        child.suspend()
    try:
        yield
    finally:
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.resume()
        os.kill(pid, signal.SIGCONT)
