"""`face3d demo`: the whole way of one photo, from the bucket to a verified webhook."""

import json
import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api import Api, open_api
from cli.console import errors, output, print_error
from cli.submit import follow, report, upload
from face3d.errors import ConfigurationError, Face3DError
from face3d.settings import Settings, get_settings

#: A webhook follows its job within moments; the first try only, the demo has no patience for retries.
WEBHOOK_SECONDS = 30.0


class WebhookMissing(Face3DError):
    """No webhook came for the finished job."""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog="Example:  face3d demo portrait.jpg --out heads")(demo)


def demo(
    photo: Annotated[
        Path | None, typer.Argument(help="A photo; scikit-image's astronaut (NASA) by default.", exists=True)
    ] = None,
    out: Annotated[Path, typer.Option(help="The asset goes to OUT/<job>/.")] = Path("out"),
) -> None:
    """Start the local stack, send one photo through it, show everything, stop the stack."""
    with running_stack():
        settings = get_settings()
        with open_api() as api:
            ready = send_one(api, settings, photo or astronaut(), out)
    raise typer.Exit(0 if ready else 1)


def astronaut() -> Path:
    """Return the portrait of Eileen Collins (NASA, public domain) that scikit-image ships.

    Raises:
        ConfigurationError: scikit-image is not installed.
    """
    spec = find_spec("skimage")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / "astronaut.png"
        if path.exists():
            return path
    raise ConfigurationError("The demo's portrait is missing: run `make env`, or name a photo.")


@contextmanager
def running_stack() -> Iterator[None]:
    """Use the stack that runs, or run one for the time being."""
    import os

    from compose.local import Stack
    from compose.local.lock import find_holder

    state_dir = Settings().state_dir
    if find_holder(state_dir) is not None:
        output.print("Using the stack that runs.")
        yield
        return
    started = time.monotonic()

    def tell(line: str) -> None:
        errors.print(f"[dim]{time.monotonic() - started:6.1f} s  {line}[/]", soft_wrap=True)

    with Stack(state_dir, report=tell) as stack:
        output.print(f"Stack up in {time.monotonic() - started:.1f} s; page: {stack.layout.web_url}")
        os.environ["FACE3D_ENV_FILE"] = str(stack.layout.env_file)
        get_settings.cache_clear()
        yield


def send_one(api: Api, settings: Settings, photo: Path, out: Path) -> bool:
    """Send a photo, wait for asset and webhook, and print both."""
    with webhook_receiver(api) as receiver:
        started = time.monotonic()
        item = upload(settings, photo, {})
        output.print(f"PUT s3://{settings.bucket_inbox}/{item.key}", soft_wrap=True, markup=False)
        (job,) = follow(api, settings, [item])
        message, arrived = receiver.wait_for(job["id"])
    seconds = arrived - started
    output.print(
        f"webhook [bold]{message['type']}[/] received and verified {seconds:.2f} s after the PUT began"
    )
    ready = report(api, item.label, job, out)
    print_times(job)
    return ready


def print_times(job: dict[str, Any]) -> None:
    """Print how long each stage took, and its steps."""
    output.print("stage times")
    for stage in job["stages"]:
        steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in stage["timings"].items())
        seconds = stage["seconds"] or 0.0
        output.print(f"  {stage['name']:<11} {seconds:6.2f} s   {steps}", markup=False)


class WebhookReceiver:
    """An endpoint of ours on loopback that verifies what it gets."""

    def __init__(self) -> None:
        self.secret = ""
        self._messages: dict[str, tuple[dict[str, Any], float]] = {}
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                accepted = receiver.take(body, dict(self.headers.items()))
                self.send_response(204 if accepted else 401)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Keep the terminal for the progress bars."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhook"

    def take(self, body: bytes, headers: dict[str, str]) -> bool:
        """Verify a message by Standard Webhooks and keep it; False when the signature is wrong."""
        from standardwebhooks import Webhook, WebhookVerificationError

        try:
            Webhook(self.secret).verify(body, {name.lower(): value for name, value in headers.items()})
        except WebhookVerificationError:
            print_error("a webhook with a wrong signature was refused")
            return False
        document = json.loads(body)
        with self._arrived:
            self._messages[document["data"].get("job_id", "")] = document, time.monotonic()
            self._arrived.notify_all()
        return True

    def wait_for(self, job_id: str) -> tuple[dict[str, Any], float]:
        """Return the verified message of a job, and when it came (monotonic seconds).

        Raises:
            WebhookMissing: none came.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: job_id in self._messages, WEBHOOK_SECONDS):
                raise WebhookMissing
            return self._messages[job_id]


@contextmanager
def webhook_receiver(api: Api) -> Iterator[WebhookReceiver]:
    """Register a receiver of ours for the time being."""
    receiver = WebhookReceiver()
    thread = threading.Thread(target=receiver.server.serve_forever, daemon=True)
    # Of its own: a demo that was killed may have left an endpoint of the same URL behind.
    receiver.secret = "whsec_" + b64encode(secrets.token_bytes(32)).decode()
    endpoint = api.call("POST", "/v1/webhooks", json={"url": receiver.url, "secret": receiver.secret})
    thread.start()
    try:
        yield receiver
    finally:
        api.call("DELETE", f"/v1/webhooks/{endpoint['id']}")
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()
