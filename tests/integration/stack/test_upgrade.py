"""An upgrade from each release: its data folder under today's stack."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from compose.local import ALL, SERVERS, Stack, temporary_state_dir
from db.migrate import is_current
from face3d.settings import Settings
from storage.client import Storage
from tests.integration.pipeline import Received, Receiver, until
from tests.integration.released_stack import ReleasedStack
from tests.releases import Release, extract, releases

#: What needs not be slow in a test.
QUICKER = {"engine": "null", "heartbeat_seconds": "0.3", "relay_poll_seconds": "0.2", "sweep_seconds": "2"}
PHOTO = b"p" * 20_000


@pytest.fixture
def folder() -> Iterator[Path]:
    made = temporary_state_dir()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class Customer:
    """A customer's program, with the address and the token that it was given once."""

    def __init__(self, settings: Settings) -> None:
        self._client = httpx.Client(
            base_url=settings.public_url,
            headers={"Authorization": f"Bearer {settings.api_token.get_secret_value()}"},
            trust_env=False,
            timeout=30,
        )

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """Return the parsed answer."""
        answer = self._client.request(method, path, **more)
        assert answer.is_success, answer.text
        return answer.json()

    def send_photo(self) -> str:
        """Upload a photo; return the job's id."""
        made = self.ask("POST", "/v1/jobs", files={"photo": ("a.jpg", PHOTO, "image/jpeg")})
        return str(made["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as the API shows it."""
        shown: dict[str, Any] = self.ask("GET", f"/v1/jobs/{job_id}")
        return shown

    def wait_for(self, job_id: str, state: str) -> dict[str, Any]:
        """Return a job when it is in a state."""
        until(lambda: self.job(job_id)["state"] == state, f"job {job_id} is {state}", seconds=40)
        return self.job(job_id)

    def stages(self, job_id: str) -> dict[str, str]:
        """Return the states of a job's stages by name."""
        return {stage["name"]: stage["state"] for stage in self.job(job_id)["stages"]}

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def settings_of(folder: Path) -> Settings:
    return Settings(_env_file=folder / "stack.env")


def assets(settings: Settings) -> dict[str, str]:
    """Return the digests of all files of all assets by key."""
    storage = Storage.from_settings(settings)
    bucket = settings.bucket_assets
    keys = [info.key for info in storage.list(bucket)]
    return {key: hashlib.sha256(storage.get(bucket, key)).hexdigest() for key in keys}


def models(settings: Settings, job_id: str) -> dict[str, str]:
    """Return the digests of a job's files by name, but of those that hold times."""
    files = {
        key.rpartition("/")[2]: digest for key, digest in assets(settings).items() if f"{job_id}/" in key
    }
    return {name: digest for name, digest in files.items() if name not in ("manifest.json", "preview.png")}


def verify(received: Received, secret: str) -> dict[str, Any]:
    """Return a webhook's document, whose signature is checked as a receiver does."""
    Webhook(secret).verify(received.body, received.headers)
    return received.document


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("release", releases(), ids=lambda release: release.version)
def test_a_release_s_data_lives_on(
    release: Release, folder: Path, receiver: Receiver, tmp_path: Path
) -> None:
    """Two stacks after one another: 40 s and more on two cores."""
    with ReleasedStack(extract(release, tmp_path / "release"), folder) as released:
        old = settings_of(folder)
        customer = Customer(old)
        endpoint = customer.ask("POST", "/v1/webhooks", json={"url": receiver.url})
        finished = customer.send_photo()
        before = customer.wait_for(finished, "ready")
        until(lambda: len(receiver.received) == 1, "the release's webhook", seconds=20)
        kept = assets(old)
        assert any(key.endswith("/head.glb") for key in kept)
        released.end_worker("second")
        half_way = customer.send_photo()
        until(lambda: customer.stages(half_way)["geometry"] == "done", "geometry is done", seconds=20)
        assert customer.stages(half_way)["texture"] != "done"
        customer.close()

    with Stack(folder, services=SERVERS) as stack:
        assert is_current(stack.settings)
        # Nobody hears of this upload: the page, the relay and workers are not there.
        storage = Storage.from_settings(stack.settings)
        etag = storage.put(old.bucket_inbox, "meanwhile.jpg", PHOTO, content_type="image/jpeg")

    with Stack(folder, services=ALL - {"flower"}, overrides=QUICKER) as stack:
        # With the address, the token and the keys of before.
        customer = Customer(old)
        after = customer.job(finished)
        assert after["state"] == "ready"
        assert [file["sha256"] for file in after["files"]] == [file["sha256"] for file in before["files"]]
        unchanged = assets(old)
        assert {key: unchanged.get(key) for key in kept} == kept

        customer.wait_for(half_way, "ready")
        fresh = customer.send_photo()
        customer.wait_for(fresh, "ready")
        place = {"bucket": old.bucket_inbox, "key": "meanwhile.jpg", "etag": etag}
        found = customer.ask("GET", "/v1/lookup", params=place)["id"]
        customer.wait_for(found, "ready")
        # What the release's workers left of a job half way gives what a photo gives that is new today.
        assert models(old, half_way) == models(old, fresh)

        (shown,) = customer.ask("GET", "/v1/webhooks")
        assert (shown["id"], shown["url"]) == (endpoint["id"], receiver.url)
        until(lambda: len(receiver.received) >= 4, "a webhook of every job", seconds=20)
        documents = [verify(received, endpoint["secret"]) for received in receiver.received]
        assert {document["data"]["job_id"] for document in documents} == {finished, half_way, fresh, found}
        assert {document["type"] for document in documents} == {"asset.ready"}
        customer.close()
