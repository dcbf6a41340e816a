"""`face3d submit`: photos by S3, followed through the API, their assets downloaded."""

import mimetypes
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api import ENDED, Api, ApiError, open_api
from cli.console import as_written, errors, output, print_error
from cli.progress import JobBars
from face3d.errors import RefusedError, StorageUnavailable
from face3d.options import METADATA_PREFIX, parse_options
from face3d.settings import Settings, get_settings

#: An event that has not come by then is left to the sweep.
EVENT_SECONDS = 90.0
#: Without waiting for the assets, a job's id is waited for so long.
ID_SECONDS = 2.0
#: Pause between two looks at a job: at least, at most, and as a share of the time waited so far.
SHORT_PAUSE, LONG_PAUSE, PAUSE_SHARE = 0.5, 5.0, 0.05


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
        list[str] | None, typer.Option(help="NAME=VALUE, several times (docs/reference/options.md).")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the assets.")] = True,
) -> None:
    """Turn photos into heads; exit code 0 when every asset is ready."""
    options = read_options(option or [])
    settings = get_settings()
    with open_api() as api:
        uploads = [upload(settings, path, options) for path in photos]
        if not wait:
            print_uploads(api, settings, uploads)
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
    """PUT a photo to the inbox under a key that tells nothing of it.

    Raises:
        StorageUnavailable: with what to do about it.
    """
    from storage.client import Storage

    key = f"cli/{secrets.token_hex(8)}{photo.suffix.lower()}"
    try:
        etag = Storage.from_settings(settings).put(
            settings.bucket_inbox,
            key,
            photo.read_bytes(),
            content_type=mimetypes.guess_type(photo.name)[0] or "application/octet-stream",
            metadata={METADATA_PREFIX + name: value for name, value in options.items()},
        )
    except StorageUnavailable as error:
        raise StorageUnavailable(
            f"{error.message} Start the local stack with `face3d up`, or set FACE3D_S3_ENDPOINT "
            f"(now {settings.s3_endpoint}) and its keys."
        ) from error
    return Uploaded(label=photo.name, key=key, etag=etag)


def print_uploads(api: Api, settings: Settings, uploads: list[Uploaded]) -> None:
    """Print where each photo lies, with its job's id where the job appears within ID_SECONDS."""
    jobs: dict[str, str] = {}
    deadline = time.monotonic() + ID_SECONDS
    while True:
        for item in uploads:
            # The photo is in the inbox all the same when the server does not answer.
            with suppress(ApiError):
                job = None if item.key in jobs else find_job(api, settings, item)
                if job:
                    jobs[item.key] = job["id"]
        if len(jobs) == len(uploads) or time.monotonic() > deadline:
            break
        time.sleep(SHORT_PAUSE)
    for item in uploads:
        line = f"{item.label}  s3://{settings.bucket_inbox}/{item.key}  {jobs.get(item.key, '')}"
        output.print(line.rstrip(), markup=False, soft_wrap=True)


def find_job(api: Api, settings: Settings, item: Uploaded) -> dict[str, Any] | None:
    """Return the job of an upload, None while its event has not arrived."""
    return api.find_upload(bucket=settings.bucket_inbox, key=item.key, etag=item.etag)


def follow(api: Api, settings: Settings, uploads: list[Uploaded]) -> list[dict[str, Any]]:
    """Show progress bars until every upload's job has ended, and return the jobs.

    Raises:
        ApiError: a job has not appeared in time, or the server has not answered for a minute.
    """
    jobs: dict[str, dict[str, Any]] = {}
    started = time.monotonic()
    with JobBars({item.key: item.label for item in uploads}, errors) as bars:
        while True:
            for item in uploads:
                known = jobs.get(item.key)
                if known and known["state"] in ENDED:
                    continue
                job = api.patiently(partial(look_at, api, settings, item, known))
                if job:
                    jobs[item.key] = job
                    bars.update(item.key, job)
            if len(jobs) == len(uploads) and all(job["state"] in ENDED for job in jobs.values()):
                return [jobs[item.key] for item in uploads]
            if len(jobs) < len(uploads) and time.monotonic() > started + EVENT_SECONDS:
                raise ApiError(
                    f"No job of an upload appeared within {EVENT_SECONDS:.0f} s: is its bucket the inbox "
                    "that this server watches? The sweep will find it; see `face3d jobs`."
                )
            time.sleep(pause_after(time.monotonic() - started))


def look_at(
    api: Api, settings: Settings, item: Uploaded, known: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return an upload's job as it is now, None while its event has not arrived."""
    return api.job(known["id"]) if known else find_job(api, settings, item)


def pause_after(waited: float) -> float:
    """Return how long to pause before the next look, seconds: long jobs are looked at less often."""
    return min(LONG_PAUSE, max(SHORT_PAUSE, waited * PAUSE_SHARE))


def report(api: Api, label: str, job: dict[str, Any], out: Path) -> bool:
    """Say how a job ended, download its asset, and return whether there is one."""
    if job["state"] != "ready":
        problem = job["error"] or {}
        detail = f"{label}: {job['state']}"
        if problem:
            detail += f" {problem['code']}: {problem['message']}"
            if problem.get("value") is not None:
                value, limit = (as_written(problem[name]) for name in ("value", "limit"))
                detail += f" (measured {value}, limit {limit})"
        print_error(detail)
        return False
    folder = out / job["id"]
    written = api.download(job, folder)
    output.print(f"[bold green]ready[/] ({job['quality']})  ", end="")
    output.print(f"{label}  {folder}", markup=False, soft_wrap=True)
    for path in sorted(written):
        line = f"  {path.name:<20} {path.stat().st_size / 1e6:8.2f} MB"
        output.print(line, markup=False, soft_wrap=True)
    return True
