"""One whole local stack with the default engine, as `face3d up` starts it, for the acceptance tests."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from standardwebhooks import Webhook

from cli.demo import astronaut
from compose.local import Stack, temporary_state_dir
from face3d.settings import Settings
from tests.integration.pipeline import until
from tests.ports import stack_ports


@dataclass
class Customer:
    """What an app team has: an S3 client, the API, a webhook endpoint that verifies."""

    settings: Settings
    s3: Any
    api: httpx.Client
    secret: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def put(self, key: str, data: bytes, **options: str) -> str:
        """PUT a photo with options as metadata; return its etag."""
        metadata = {f"face3d-{name.replace('_', '-')}": value for name, value in options.items()}
        answer = self.s3.put_object(
            Bucket=self.settings.bucket_inbox, Key=key, Body=data, Metadata=metadata, ContentType="image/jpeg"
        )
        return str(answer["ETag"].strip('"'))

    def job_of(self, key: str, seconds: float = 30, **more: str) -> dict[str, Any]:
        """Return the newest job of an upload, as soon as its event has come."""
        found: list[dict[str, Any]] = []

        def ask() -> bool:
            answer = self.api.get(
                "/v1/lookup", params={"bucket": self.settings.bucket_inbox, "key": key, **more}
            )
            found.extend([answer.json()] if answer.is_success else [])
            return bool(found)

        until(ask, f"a job of {key}", seconds=seconds)
        return found[0]

    def wait_for_end(self, job_id: str, seconds: float = 100) -> dict[str, Any]:
        """Return a job after its end."""
        until(
            lambda: self.job(job_id)["state"] in ("ready", "failed", "cancelled"),
            "the job ends",
            seconds=seconds,
        )
        return self.job(job_id)

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job."""
        document: dict[str, Any] = self.api.get(f"/v1/jobs/{job_id}").raise_for_status().json()
        return document

    def message_of(self, job_id: str) -> dict[str, Any]:
        """Return the webhook message of a job."""
        until(lambda: any(m["data"].get("job_id") == job_id for m in self.messages), "a webhook", seconds=20)
        return next(m for m in self.messages if m["data"].get("job_id") == job_id)

    def file(self, job: dict[str, Any], name: str) -> bytes:
        """Download a file of an asset by the API's redirect to the storage."""
        answer = self.api.get(f"/v1/jobs/{job['id']}/files/{name}", follow_redirects=True)
        return answer.raise_for_status().content


#: What the stack said while it started, and how many processes of its workers were warm when it said so.
SAID: list[tuple[str, int]] = []


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    folder = temporary_state_dir()

    def note(line: str) -> None:
        log = folder / "logs" / "workers.log"
        SAID.append((line, log.read_text().count("worker.warm") if log.exists() else 0))

    overrides = {
        "model_dir": str(Settings().model_dir),
        "webhook_allow_private": "true",
        "sweep_seconds": "2",
        "texture_size": "1024",
    }
    try:
        with Stack(folder, overrides=overrides, ports=stack_ports(), report=note) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def customer(stack: Stack) -> Iterator[Customer]:
    settings = stack.settings
    s3 = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
        config=Config(s3={"addressing_style": "path"}),
    )
    headers = {"authorization": f"Bearer {settings.api_token.get_secret_value()}"}
    with httpx.Client(base_url=stack.layout.web_url, headers=headers, timeout=30, trust_env=False) as api:
        made = Customer(settings=settings, s3=s3, api=api)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                Webhook(made.secret).verify(body, headers)
                made.ids.append(headers["webhook-id"])
                made.messages.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/hook"
        made.secret = api.post("/v1/webhooks", json={"url": url}).raise_for_status().json()["secret"]
        yield made
        server.shutdown()
        server.server_close()
        thread.join()
    s3.close()


@pytest.fixture(scope="session")
def portrait() -> bytes:
    """scikit-image's astronaut (NASA, public domain), 512 x 512 PNG."""
    return Path(astronaut()).read_bytes()
