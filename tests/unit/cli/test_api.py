"""The commands' client of the API, over a transport without a network."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from pydantic import SecretStr

from cli.api import Api, ApiError, ApiUnavailable
from face3d.settings import Settings

Handler = Callable[[httpx.Request], httpx.Response]

SECRETS = ("secret-key", "secret-etag", "secret-signature")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes only in `sleep`; the list holds the pauses."""
    pauses: list[float] = []
    time = SimpleNamespace(sleep=pauses.append, monotonic=lambda: sum(pauses))
    monkeypatch.setattr("cli.api.time", time)
    return pauses


def open_api(handler: Handler) -> Api:
    settings = Settings(public_url="http://face3d.test", api_token=SecretStr("token-for-the-tests-only"))
    return Api(settings, transport=httpx.MockTransport(handler))


def restart(_request: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("Server disconnected without sending a response.")


def unavailable(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(503, json={"code": "unavailable", "message": "The database does not answer."})


def find(api: Api) -> object:
    return api.find_upload(bucket="inbox", key="secret-key", etag="secret-etag")


@pytest.mark.parametrize(
    "handler", [restart, unavailable, lambda _request: httpx.Response(502, text="<html>")]
)
def test_a_server_that_is_away_is_one_sentence_without_key_or_address_of_the_photo(handler: Handler) -> None:
    with open_api(handler) as api, pytest.raises(ApiUnavailable) as caught:
        find(api)
    assert not [secret for secret in SECRETS if secret in caught.value.message]
    assert "\n" not in caught.value.message


def test_what_the_server_refuses_is_not_asked_again(clock: list[float]) -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"code": "unauthorized", "message": "The token is wrong."})

    with open_api(refuse) as api, pytest.raises(ApiError, match="The token is wrong") as caught:
        api.patiently(lambda: find(api))
    assert not isinstance(caught.value, ApiUnavailable)
    assert clock == []


def test_an_upload_whose_event_has_not_come_has_no_job_yet() -> None:
    with open_api(lambda _request: httpx.Response(404, json={"message": "none"})) as api:
        assert find(api) is None


def test_following_outlasts_a_restart(clock: list[float]) -> None:
    answers = iter([restart, unavailable, restart])

    def handle(request: httpx.Request) -> httpx.Response:
        handler = next(answers, None)
        return handler(request) if handler else httpx.Response(200, json={"id": "j"})

    with open_api(handle) as api:
        assert api.patiently(lambda: find(api)) == {"id": "j"}
    assert len(clock) == 3


def test_a_server_that_stays_away_is_given_up_after_a_minute(clock: list[float]) -> None:
    with open_api(unavailable) as api, pytest.raises(ApiError, match="face3d jobs") as caught:
        api.patiently(lambda: find(api))
    assert "60 s" in caught.value.message
    assert 55 <= sum(clock) <= 65


def a_ready_job(content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    return {"id": "j", "files": [{"name": "head.glb", "url": "/v1/jobs/j/files/head.glb", "sha256": digest}]}


def test_a_download_that_breaks_off_is_begun_again(tmp_path: Path, clock: list[float]) -> None:
    broken = [True]

    def stream() -> Iterator[bytes]:
        yield b"ab"
        if broken.pop() if broken else False:
            raise httpx.ReadError("connection reset")
        yield b"cd"

    def handle(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=stream())

    with open_api(handle) as api:
        (path,) = api.download(a_ready_job(b"abcd"), tmp_path / "out")
    assert path.read_bytes() == b"abcd"
    assert [file.name for file in path.parent.iterdir()] == ["head.glb"]
    assert len(clock) == 1


def test_a_failed_download_tells_the_file_and_not_its_link(tmp_path: Path) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if "files" in request.url.path:
            return httpx.Response(307, headers={"location": "http://s3.test/x?sig=secret-signature"})
        return httpx.Response(403)

    with open_api(handle) as api, pytest.raises(ApiError, match=r"head\.glb.*HTTP 403") as caught:
        api.download(a_ready_job(b""), tmp_path)
    assert "secret-signature" not in caught.value.message


def test_a_damaged_download_is_refused(tmp_path: Path) -> None:
    with (
        open_api(lambda _request: httpx.Response(200, content=b"other")) as api,
        pytest.raises(ApiError, match="SHA-256"),
    ):
        api.download(a_ready_job(b"abcd"), tmp_path)
    assert not (tmp_path / "head.glb").exists()
