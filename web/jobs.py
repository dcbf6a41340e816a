"""The job API."""

from collections.abc import Collection
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from db.lifecycle import cancel, retry
from db.models import Job
from db.queries import JobNotFound, find, find_by_photo, list_jobs
from face3d.states import JobState
from gpu_workers.serving.png_stream import iterate_apart
from storage.layout import as_path
from web.auth import require_api
from web.context import Context, ContextOf, SessionOf
from web.erasure import erase_job
from web.middleware.lanes import Lane
from web.problems import PROBLEMS, Problem, refuse
from web.progress import Followers
from web.queries import TypicalDurations, asset_file, asset_files, find_jobs
from web.uploads import accept_upload, form_schema, read_form
from web.views import JobPage, JobView, view_job

#: How long a link to a file works: time to start a download.
LINK_SECONDS = 900

router = APIRouter(
    prefix="/v1",
    tags=["jobs"],
    dependencies=[Depends(require_api)],
    responses={**PROBLEMS, 404: {"model": Problem}},
)

_durations = TypicalDurations()


def load_job(context: Context, session: Session, job_id: str) -> JobView:
    """Return the whole view of a job.

    Raises:
        JobNotFound: there is none.
    """
    return _whole_view(context, session, find(session, job_id))


def load_jobs(context: Context, job_ids: Collection[str]) -> dict[str, JobView]:
    """Return whole views by id, of the jobs that there are."""
    with context.sessions() as session:
        return {job.id: _whole_view(context, session, job) for job in find_jobs(session, job_ids)}


def _whole_view(context: Context, session: Session, job: Job) -> JobView:
    files = asset_files(session, job, context.settings.bucket_assets)
    return view_job(job, typical_seconds=_durations.read(session), artifacts=files, attempts=True)


@router.post(
    "/jobs",
    status_code=HTTPStatus.ACCEPTED,
    response_model=JobView,
    openapi_extra=form_schema(),
    responses={status: {"model": Problem} for status in (400, 413, 415)},
)
async def create_job(request: Request, context: ContextOf) -> JSONResponse:
    """Upload one photo with its options and start a job; the tier is interactive unless stated.

    Follow it at the address in `Location`, or with `/events` behind it. A photo that is no photo of a face is
    accepted here and refused by the job.
    """
    form = await read_form(request, max_bytes=context.settings.max_bytes)

    def start() -> JobView:
        job_id = accept_upload(context, form)
        with context.sessions() as session:
            return load_job(context, session, job_id)

    view = await run_in_threadpool(start)
    return JSONResponse(
        view.model_dump(mode="json"),
        status_code=HTTPStatus.ACCEPTED,
        headers={"Location": f"/v1/jobs/{view.id}"},
    )


@router.get("/jobs")
def get_jobs(
    session: SessionOf,
    state: JobState | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[datetime | None, Query(description="`next` of the page before.")] = None,
) -> JobPage:
    """List jobs, newest first, without their files."""
    jobs = list_jobs(session, state=state, limit=limit + 1, before=before)
    typical = _durations.read(session)
    views = [view_job(job, typical_seconds=typical) for job in jobs[:limit]]
    return JobPage(jobs=views, next=views[-1].created_at if len(jobs) > limit else None)


@router.get("/lookup")
async def look_up(context: ContextOf, bucket: str, key: str, etag: str | None = None) -> JobView:
    """Find the newest job of an upload: for clients that PUT by S3 and follow here.

    The key may be the one that was PUT where the store keeps it under another (SeaweedFS: `/a.jpg` as
    `a.jpg`, `x//y.jpg` as `x/y.jpg`). 404 until the storage's event has arrived; ask again.
    """
    tag = etag.strip('"') if etag else None

    def look(session: Session, name: str) -> JobView | None:
        job = find_by_photo(session, bucket=bucket, key=name, etag=tag)
        return None if job is None else load_job(context, session, job.id)

    view = await context.ask_database(partial(look, name=key))
    if view is None and bucket == context.settings.bucket_inbox and as_path(key) != key:
        # A storage that hangs must not hold the places of those who ask the database.
        async with context.lanes.use(Lane.STORAGE):
            stored = await run_in_threadpool(context.storage.stored_key, bucket, key)
        if stored != key:
            view = await context.ask_database(partial(look, name=stored))
    if view is None:
        raise JobNotFound("There is no job of that upload (yet).")
    return view


@router.get("/jobs/{job_id}")
def get_job(context: ContextOf, session: SessionOf, job_id: str) -> JobView:
    """Show one job: state, stages with timings, error, files."""
    return load_job(context, session, job_id)


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "`event: job` with the job."}},
)
async def follow_job(request: Request, context: ContextOf, job_id: str) -> StreamingResponse:
    """Follow one job by server-sent events: the job at every change; `event: end` closes."""

    def load() -> JobView:
        with context.sessions() as session:
            return load_job(context, session, job_id)

    followers: Followers = request.app.state.followers
    events = followers.follow(await run_in_threadpool(load))
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get(
    "/jobs/{job_id}/files/{name}",
    response_model=None,
    response_class=RedirectResponse,
    status_code=HTTPStatus.TEMPORARY_REDIRECT,
)
def get_file(
    context: ContextOf,
    session: SessionOf,
    job_id: str,
    name: str,
    disposition: Annotated[
        Literal["attachment", "inline"], Query(description="Save the file, or show it.")
    ] = "attachment",
    direct: Annotated[
        bool, Query(description="Send the bytes from here, for pages that cannot follow to the storage.")
    ] = False,
) -> RedirectResponse | StreamingResponse:
    """Redirect to a link to one file of the asset, good for 15 minutes."""
    job = find(session, job_id)
    file = asset_file(session, job, context.settings.bucket_assets, name)
    if file is None or job.asset_prefix is None:
        raise refuse(HTTPStatus.NOT_FOUND, "not_found", "The job has no file of that name.")
    key = job.asset_prefix + name
    if direct:
        return _send(context, file.bucket, key, file.content_type)
    link = context.storage.presign_get(
        file.bucket,
        key,
        seconds=LINK_SECONDS,
        filename=name if disposition == "attachment" else None,
    )
    return RedirectResponse(link, status_code=HTTPStatus.TEMPORARY_REDIRECT)


def _send(context: Context, bucket: str, key: str, content_type: str) -> StreamingResponse:
    info, chunks = context.storage.stream(bucket, key)

    # A sandboxed document of ours can do no harm, whatever a customer's photo smuggled in.
    headers = {"Content-Length": str(info.size), "Content-Security-Policy": "sandbox; default-src 'none'"}
    pieces = iterate_apart(chunks, context.downloads)
    return StreamingResponse(pieces, media_type=content_type, headers=headers)


@router.post("/jobs/{job_id}/cancel", responses={409: {"model": Problem}})
def cancel_job(context: ContextOf, session: SessionOf, job_id: str) -> JobView:
    """Stop a job that has not ended."""
    find(session, job_id)
    cancel(session, job_id)
    session.commit()
    session.expire_all()
    return load_job(context, session, job_id)


@router.post("/jobs/{job_id}/retry", responses={409: {"model": Problem}})
def retry_job(context: ContextOf, session: SessionOf, job_id: str) -> JobView:
    """Run a failed or cancelled job again, from its first stage that is not done."""
    find(session, job_id)
    retry(session, job_id)
    session.commit()
    session.expire_all()
    return load_job(context, session, job_id)


@router.delete("/jobs/{job_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_job(context: ContextOf, job_id: str) -> None:
    """Erase a job: photo, artifacts, asset, key and reference; its id and times stay as `erased`."""
    erase_job(context, job_id)
