"""`face3d submit`: photos by S3, followed through the API, their assets downloaded."""

import mimetypes
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from face3d.cli.api import ENDED, Api, ApiError, open_api
from face3d.cli.console import errors, output, print_error
from face3d.cli.progress import JobBars
from face3d.errors import RefusedError
from face3d.options import METADATA_PREFIX, parse_options
from face3d.settings import Settings, get_settings

#: An event that has not come by then is left to the sweep.
EVENT_SECONDS = 90.0


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(
        epilog="Example:  face3d submit portrait.jpg --out heads --option expression=photo",
    )(submit)


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """A photo in the inbox."""

    label: str
    key: str
    etag: str


def submit(
    photos: Annotated[list[Path], typer.Argument(help="Photos, one face each.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Assets go to OUT/<job>/.")] = Path("out"),
    option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, several times (docs/options.md).")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the assets.")] = True,
) -> None:
    """Turn photos into heads; exit code 0 when every asset is ready."""
    options = read_options(option or [])
    settings = get_settings()
    with open_api() as api:
        uploads = [upload(settings, path, options) for path in photos]
        if not wait:
            for item in uploads:
                output.print(f"{item.label}  {item.etag}", markup=False)
            return
        jobs = follow(api, settings, uploads)
        ready = True
        for item, job in zip(uploads, jobs, strict=True):
            ready &= report(api, item.label, job, out)
    raise typer.Exit(0 if ready else 1)


def read_options(pairs: list[str]) -> dict[str, str]:
    """Return options from NAME=VALUE texts, checked.

    Raises:
        RefusedError: an option that the server would refuse.
    """
    options = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE")
        options[name] = value
    try:
        parse_options(options)
    except RefusedError as error:
        raise typer.BadParameter(f"{error.message} Allowed: {error.limit}.") from error
    return options


def upload(settings: Settings, photo: Path, options: dict[str, str]) -> Uploaded:
    """PUT a photo to the inbox under a key that tells nothing of it."""
    from storage.client import Storage

    key = f"cli/{secrets.token_hex(8)}{photo.suffix.lower()}"
    etag = Storage.from_settings(settings).put(
        settings.bucket_inbox,
        key,
        photo.read_bytes(),
        content_type=mimetypes.guess_type(photo.name)[0] or "application/octet-stream",
        metadata={METADATA_PREFIX + name: value for name, value in options.items()},
    )
    return Uploaded(label=photo.name, key=key, etag=etag)


def follow(api: Api, settings: Settings, uploads: list[Uploaded]) -> list[dict[str, Any]]:
    """Show progress bars until every upload's job has ended, and return the jobs.

    Raises:
        ApiError: a job has not appeared in time.
    """
    jobs: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + EVENT_SECONDS
    with JobBars({item.key: item.label for item in uploads}, errors) as bars:
        while True:
            for item in uploads:
                known = jobs.get(item.key)
                if known and known["state"] in ENDED:
                    continue
                job = (
                    api.job(known["id"])
                    if known
                    else api.find_upload(bucket=settings.bucket_inbox, key=item.key, etag=item.etag)
                )
                if job:
                    jobs[item.key] = job
                    bars.update(item.key, job)
            if len(jobs) == len(uploads) and all(job["state"] in ENDED for job in jobs.values()):
                return [jobs[item.key] for item in uploads]
            if len(jobs) < len(uploads) and time.monotonic() > deadline:
                raise ApiError(
                    f"No job of an upload appeared within {EVENT_SECONDS:.0f} s: is its bucket the inbox "
                    "that this server watches? The sweep will find it; see `face3d jobs`."
                )
            time.sleep(0.1)


def report(api: Api, label: str, job: dict[str, Any], out: Path) -> bool:
    """Say how a job ended, download its asset, and return whether there is one."""
    if job["state"] != "ready":
        problem = job["error"] or {}
        detail = f"{label}: {job['state']}"
        if problem:
            detail += f" {problem['code']}: {problem['message']}"
            if problem.get("value") is not None:
                detail += f" (measured {problem['value']}, limit {problem['limit']})"
        print_error(detail)
        return False
    folder = out / job["id"]
    written = api.download(job, folder)
    output.print(f"[bold green]ready[/] ({job['quality']})  [bold]{folder}[/]", soft_wrap=True)
    for path in sorted(written):
        output.print(f"  {path.name:<20} {path.stat().st_size / 1e6:8.2f} MB", markup=False)
    return True
