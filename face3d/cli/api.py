"""The job API as the commands use it."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from face3d.errors import Face3DError
from face3d.settings import Settings, get_settings

Json = dict[str, Any]

#: States in which a job changes no more by itself.
ENDED = frozenset({"ready", "failed", "cancelled", "erased"})


class ApiError(Face3DError):
    """The API did not answer as it should."""


class Api:
    """A client of one Face3D server."""

    def __init__(self, settings: Settings) -> None:
        self._client = httpx.Client(
            base_url=settings.public_url,
            headers={"authorization": f"Bearer {settings.api_token.get_secret_value()}"},
            timeout=30,
            trust_env=False,
        )

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Return the JSON that a call answers, None for an empty answer.

        Raises:
            ApiError: the server cannot be reached, or says what is wrong.
        """
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise ApiError(
                f"No answer from {self._client.base_url}: start the stack with `face3d up`, or set "
                "FACE3D_PUBLIC_URL and FACE3D_API_TOKEN."
            ) from error
        if answer.is_success:
            return answer.json() if answer.content else None
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        raise ApiError(problem.get("message") or f"The API answered HTTP {answer.status_code}.")

    def find_upload(self, *, bucket: str, key: str, etag: str) -> Json | None:
        """Return the job of an upload, None while its event has not arrived."""
        answer = self._client.get("/v1/lookup", params={"bucket": bucket, "key": key, "etag": etag})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        job: Json = answer.json()
        return job

    def job(self, job_id: str) -> Json:
        """Return one job."""
        job: Json = self.call("GET", f"/v1/jobs/{job_id}")
        return job

    def follow(self, job_id: str, *, pause: float = 0.2) -> Iterator[Json]:
        """Yield a job until it has ended."""
        while True:
            job = self.job(job_id)
            yield job
            if job["state"] in ENDED:
                return
            time.sleep(pause)

    def download(self, job: Mapping[str, Any], folder: Path) -> list[Path]:
        """Write a ready job's files to a folder, and return their paths.

        Raises:
            ApiError: a file is not what the server says it is.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for file in job["files"]:
            path = folder / file["name"]
            digest = hashlib.sha256()
            partial = path.with_suffix(path.suffix + ".part")
            with (
                self._client.stream("GET", file["url"], follow_redirects=True) as answer,
                partial.open("wb") as output,
            ):
                if not answer.is_success:
                    raise ApiError(f"{file['name']} cannot be downloaded: HTTP {answer.status_code}.")
                for chunk in answer.iter_bytes():
                    digest.update(chunk)
                    output.write(chunk)
            if digest.hexdigest() != file["sha256"]:
                raise ApiError(f"{file['name']} arrived damaged: its SHA-256 differs.")
            partial.rename(path)
            written.append(path)
        return written


def open_api() -> Api:
    """Return a client of the server that the settings name."""
    return Api(get_settings())
