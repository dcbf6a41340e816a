"""A server that is frozen takes only those calls along that need it, and those for ten seconds at most."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import pytest

from compose.local import Stack
from face3d.settings import Settings
from storage.client import Storage
from tests.integration.web_process import PHOTO, WebProcess, frozen, web_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

#: More than the web server has threads.
CROWD = 60

Call = Callable[[], httpx.Response]


@pytest.fixture(scope="module")
def web(server_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder = tmp_path_factory.mktemp("web")
    settings = server_stack.settings
    with web_process(settings, server_stack.layout.env_file, folder) as running:
        yield running


@pytest.fixture
def calls(web: WebProcess, clean_servers: Settings) -> dict[str, Call]:
    """What people and programs ask for, each answered with success while all is well."""
    storage = Storage.from_settings(clean_servers)
    storage.put(clean_servers.bucket_inbox, "announced.jpg", PHOTO, content_type="image/jpeg")
    return {
        "list": lambda: web.ask("GET", "/v1/jobs", headers=web.api),
        "metrics": lambda: web.ask("GET", "/metrics", headers=web.api),
        "upload": web.upload,
        "event": lambda: web.announce(*["announced.jpg"] * 3),
        "page": lambda: web.ask("GET", "/"),
        "file": lambda: web.ask("GET", "/static/app.js"),
    }


@pytest.mark.parametrize(
    ("server", "needed_by"),
    [
        ("postgres", {"list", "metrics", "upload", "event"}),
        ("seaweedfs", {"upload", "event"}),
        ("valkey", set()),
    ],
)
def test_a_frozen_server(
    server_stack: Stack, web: WebProcess, calls: dict[str, Call], server: str, needed_by: set[str]
) -> None:
    for name, call in calls.items():
        assert call().is_success, name
    pid = server_stack.supervisor.pid(server)
    assert pid is not None
    with ThreadPoolExecutor(CROWD + len(calls)) as pool:
        with frozen(pid):
            crowd = [
                pool.submit(_timed, calls[name]) for name in sorted(needed_by) for _ in range(CROWD // 3)
            ]
            time.sleep(0.5)
            asked = {name: pool.submit(_timed, call) for name, call in calls.items()}
            _check_probes(web, seconds=6.0)
            for name in calls.keys() - needed_by:
                answer, seconds = asked[name].result()
                assert answer.is_success, (name, answer.text)
                assert seconds < 4, name
            for future in [*crowd, *(asked[name] for name in needed_by)]:
                _check_refusal(future)
            for name in needed_by:
                # By now it is known: nobody waits for nothing.
                _check_refusal(pool.submit(_timed, calls[name]), seconds=1.5)
            readiness = web.ask("GET", "/readyz")
            assert readiness.status_code == 503
            kinds = {"postgres": "database", "seaweedfs": "storage", "valkey": "broker"}
            failed = {name for name, state in readiness.json()["checks"].items() if state == "failed"}
            assert failed == {kinds[server]}
        thawed = time.monotonic()
        calls = {**calls, "readiness": lambda: web.ask("GET", "/readyz")}
        while not all(call().is_success for call in calls.values()):
            assert time.monotonic() - thawed < 10
            time.sleep(0.2)
        assert time.monotonic() - thawed < 10


def _timed(call: Call) -> tuple[httpx.Response, float]:
    started = time.monotonic()
    return call(), time.monotonic() - started


def _check_probes(web: WebProcess, *, seconds: float) -> None:
    """Liveness within a second and readiness within two, all the time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        alive, took = _timed(lambda: web.ask("GET", "/healthz"))
        assert alive.is_success
        assert took < 1
        _, took = _timed(lambda: web.ask("GET", "/readyz"))
        assert took < 2
        time.sleep(0.1)


def _check_refusal(future: "Future[tuple[httpx.Response, float]]", seconds: float = 10) -> None:
    answer, took = future.result()
    assert answer.status_code == 503, answer.text
    assert took < seconds
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["code"] in ("database_unavailable", "storage_unavailable")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_its_log_stays_short(web: WebProcess) -> None:
    assert web.log.stat().st_size < 500_000, web.log.read_text()[-2000:]
