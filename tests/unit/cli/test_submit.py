"""`face3d submit` where the servers are away, slow, or not started."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from cli.api import Api
from cli.submit import Uploaded, follow, pause_after, print_uploads, report, upload
from face3d.errors import StorageUnavailable
from face3d.settings import Settings
from storage.client import Storage

SETTINGS = Settings(
    public_url="http://face3d.test",
    api_token=SecretStr("token-for-the-tests-only"),
    s3_endpoint="http://127.0.0.1:9",
)
ITEM = Uploaded(label="portrait.jpg", key="cli/0123.jpg", etag="e7a9")

JOB: dict[str, Any] = {"id": "01a2-b3", "state": "running", "percent": 10, "stages": []}
READY = {**JOB, "state": "ready", "percent": 100}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes only in `sleep`; the list holds the pauses."""
    pauses: list[float] = []
    time = SimpleNamespace(sleep=pauses.append, monotonic=lambda: sum(pauses))
    for module in ("api", "submit"):
        monkeypatch.setattr(f"cli.{module}.time", time)
    return pauses


def open_api(handler: Callable[[httpx.Request], httpx.Response]) -> Api:
    return Api(SETTINGS, transport=httpx.MockTransport(handler))


def test_following_goes_on_when_the_server_restarts() -> None:
    script = iter(["404", JOB, "away", "503", JOB, READY])

    def handle(_request: httpx.Request) -> httpx.Response:
        step = next(script)
        if step == "away":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        if isinstance(step, str):
            return httpx.Response(int(step), json={"message": "not now"})
        return httpx.Response(200, json=step)

    with open_api(handle) as api:
        assert follow(api, SETTINGS, [ITEM]) == [READY]


def test_a_long_job_is_looked_at_less_and_less_often() -> None:
    assert pause_after(0) == 0.5
    assert 0.5 < pause_after(40) < pause_after(80) <= pause_after(10_000) <= 5


def test_without_a_store_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> str:
        raise StorageUnavailable("The object store could not be used: EndpointConnectionError.")

    monkeypatch.setattr(Storage, "put", fail)
    photo = tmp_path / "portrait.jpg"
    photo.write_bytes(b"x")
    with pytest.raises(StorageUnavailable, match="face3d up") as caught:
        upload(SETTINGS, photo, {})
    assert "FACE3D_S3_ENDPOINT" in caught.value.message
    assert "http://127.0.0.1:9" in caught.value.message


def test_no_wait_prints_where_the_photo_is_and_its_job(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter([httpx.Response(404), httpx.Response(200, json=JOB)])
    with open_api(lambda _request: next(answers)) as api:
        print_uploads(api, SETTINGS, [ITEM])
    assert capsys.readouterr().out == "portrait.jpg  s3://face3d-inbox/cli/0123.jpg  01a2-b3\n"


@pytest.mark.parametrize("status", [404, 503])
def test_no_wait_does_not_wait_for_the_job(
    status: int, capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with open_api(lambda _request: httpx.Response(status)) as api:
        print_uploads(api, SETTINGS, [ITEM])
    assert capsys.readouterr().out == "portrait.jpg  s3://face3d-inbox/cli/0123.jpg\n"
    assert sum(clock) <= 3


def test_a_refusal_is_said_with_value_and_limit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    error = {"code": "no_face", "message": "No face was found.", "value": 0.0, "limit": 1.0}
    with open_api(lambda _request: httpx.Response(500)) as api:
        assert not report(api, "portrait.jpg", {"id": "1", "state": "failed", "error": error}, tmp_path)
    said = "portrait.jpg: failed no_face: No face was found. (measured 0, limit 1)"
    assert said in " ".join(capsys.readouterr().err.split())
