"""The job API as the commands use it."""

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from face3d.errors import Face3DError
from face3d.settings import Settings, get_settings

Json = dict[str, Any]
Answer = TypeVar("Answer")

#: States in which a job changes no more by itself.
ENDED = frozenset({"ready", "failed", "cancelled", "erased"})

#: How long following outlasts a server that restarts.
PATIENCE_SECONDS = 60.0
#: Answers of a server (or of a proxy before it) that comes back.
_PASSING = frozenset(
    {
        httpx.codes.BAD_GATEWAY,
        httpx.codes.SERVICE_UNAVAILABLE,
        httpx.codes.GATEWAY_TIMEOUT,
    }
)


class ApiError(Face3DError):
    """The API did not answer as it should."""


class ApiUnavailable(ApiError):
    """The API does not answer now; asking again may help."""


class Api:
    """A client of one Face3D server.

    Args:
        settings: address and token.
        transport: what carries the requests; the network by default.
    """

    def __init__(self, settings: Settings, *, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            base_url=settings.public_url,
            headers={"authorization": f"Bearer {settings.api_token.get_secret_value()}"},
            timeout=30,
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Return the JSON that a call answers, None for an empty answer.

        Raises:
            ApiUnavailable: the server cannot be reached, or cannot work just now.
            ApiError: the server says what is wrong.
        """
        answer = self._send(method, path, **arguments)
        if answer.is_success:
            return answer.json() if answer.content else None
        raise _refusal(answer)

    def find_upload(self, *, bucket: str, key: str, etag: str) -> Json | None:
        """Return the job of an upload, None while its event has not arrived.

        Raises:
            ApiUnavailable, ApiError: see `call`.
        """
        answer = self._send("GET", "/v1/lookup", params={"bucket": bucket, "key": key, "etag": etag})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if not answer.is_success:
            raise _refusal(answer)
        job: Json = answer.json()
        return job

    def job(self, job_id: str) -> Json:
        """Return one job."""
        job: Json = self.call("GET", f"/v1/jobs/{job_id}")
        return job

    def patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Return what a question yields, asked again while the server does not answer.

        Raises:
            ApiError: not within PATIENCE_SECONDS.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return ask()
            except ApiUnavailable as error:
                if time.monotonic() > deadline:
                    raise ApiError(
                        f"{self._client.base_url} has not answered for {PATIENCE_SECONDS:.0f} s. What was "
                        "uploaded goes on without this command: see `face3d jobs` once the server is back."
                    ) from error
            time.sleep(1.0)

    def download(self, job: Mapping[str, Any], folder: Path) -> list[Path]:
        """Write a ready job's files to a folder, and return their paths.

        Raises:
            ApiError: a file cannot be had, or is not what the server says it is.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for file in job["files"]:
            path = folder / file["name"]
            partial = path.with_suffix(path.suffix + ".part")

            def fetch(file: Mapping[str, Any] = file, partial: Path = partial) -> str:
                return self._fetch(file["name"], file["url"], partial)

            if self.patiently(fetch) != file["sha256"]:
                raise ApiError(f"{file['name']} arrived damaged: its SHA-256 differs.")
            partial.rename(path)
            written.append(path)
        return written

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ApiUnavailable(
                f"No answer from {self._client.base_url}: start the stack with `face3d up`, or set "
                "FACE3D_PUBLIC_URL and FACE3D_API_TOKEN."
            ) from error

    def _fetch(self, name: str, url: str, path: Path) -> str:
        """Write a file and return its SHA-256; no error tells its URL, which may open it."""
        digest = hashlib.sha256()
        try:
            with self._client.stream("GET", url, follow_redirects=True) as answer, path.open("wb") as output:
                if not answer.is_success:
                    kind = ApiUnavailable if answer.status_code in _PASSING else ApiError
                    raise kind(f"{name} cannot be downloaded: HTTP {answer.status_code}.")
                for chunk in answer.iter_bytes():
                    digest.update(chunk)
                    output.write(chunk)
        except httpx.HTTPError as error:
            raise ApiUnavailable(f"{name} cannot be downloaded: {type(error).__name__}.") from error
        return digest.hexdigest()


def _refusal(answer: httpx.Response) -> ApiError:
    """Return the error that an answer tells of."""
    kind = ApiUnavailable if answer.status_code in _PASSING else ApiError
    try:
        message = answer.json()["message"]
    except (ValueError, KeyError, TypeError):
        message = f"The API answered HTTP {answer.status_code}."
    return kind(message)


def open_api() -> Api:
    """Return a client of the server that the settings name."""
    return Api(get_settings())
