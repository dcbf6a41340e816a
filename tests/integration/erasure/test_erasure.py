"""What is erased and collected: rows, objects and the host's cache."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db import acceptance, leases, lifecycle, queries
from db.leases import Decision
from face3d.errors import ErrorCode, LeaseLost, RefusedError
from face3d.options import JobOptions
from face3d.settings import Settings
from face3d.states import StageName
from storage.client import Storage
from tasks.artifacts import open_cache
from tasks.retention import collect_garbage, erase_expired, erase_job
from tests.integration.job_rows import accept, complete, run_all, take


def test_erasing_forgets_the_person_and_the_objects(
    sessions: sessionmaker[Session], clean_servers: Settings
) -> None:
    storage = Storage.from_settings(clean_servers)
    etag = storage.put(clean_servers.bucket_inbox, "marlene.jpg", b"photo", content_type="image/jpeg")
    with sessions.begin() as session:
        job_id = acceptance.accept(
            session,
            bucket=clean_servers.bucket_inbox,
            key="marlene.jpg",
            etag=etag,
            size=5,
            content_type="image/jpeg",
            options=JobOptions(ref="Marlene", view_of="marlene/front.jpg"),
            source="event",
        ).job_id
    run_all(sessions, job_id)
    storage.put(clean_servers.bucket_assets, f"{job_id}/1/head.glb", b"glb", content_type="model/gltf-binary")
    cache = open_cache(clean_servers)
    cache.put(f"{job_id}/preprocess/1/result.safetensors", b"her face")
    erase_job(storage, sessions, clean_servers, cache, job_id)
    with sessions() as session:
        job = queries.find(session, job_id)
        assert job.state == "erased"
        dump = str(session.execute(text("SELECT row_to_json(jobs) FROM jobs")).scalar())
    assert "marlene" not in dump.lower()
    assert cache.get(f"{job_id}/preprocess/1/result.safetensors") is None
    assert not list(storage.list(clean_servers.bucket_inbox))
    assert not list(storage.list(clean_servers.bucket_assets))
    erase_job(storage, sessions, clean_servers, cache, job_id)


def test_retention_erases_what_is_old(sessions: sessionmaker[Session], clean_servers: Settings) -> None:
    old, new = accept(sessions, "old.jpg").job_id, accept(sessions, "new.jpg").job_id
    for job_id in (old, new):
        run_all(sessions, job_id)
    with sessions.begin() as session:
        session.execute(
            text("UPDATE jobs SET finished_at = now() - interval '31 days' WHERE id = :id"), {"id": old}
        )
    settings = clean_servers.model_copy(update={"bucket_inbox": "inbox"})
    storage = Storage.from_settings(settings)
    storage.ensure_bucket("inbox")
    assert erase_expired(storage, sessions, settings, open_cache(settings)) == 1
    with sessions() as session:
        assert (queries.find(session, old).state, queries.find(session, new).state) == ("erased", "ready")


def test_a_retry_after_its_garbage_was_collected_begins_anew(
    sessions: sessionmaker[Session], clean_servers: Settings
) -> None:
    storage = Storage.from_settings(clean_servers)
    job_id = accept(sessions).job_id
    _, job = take(sessions, job_id, StageName.PREPROCESS)
    assert job is not None
    complete(sessions, job)
    _, job = take(sessions, job_id, StageName.GEOMETRY)
    assert job is not None
    with sessions.begin() as session:
        leases.fail(session, job.lease, RefusedError(ErrorCode.INTERNAL_ERROR, "A bug."))
    for name in ("preprocess/1/result.safetensors", "geometry/1/abandoned.safetensors"):
        storage.put(clean_servers.bucket_work, f"{job_id}/{name}", b"x", content_type="a/b")
    cache = open_cache(clean_servers)
    assert collect_garbage(storage, sessions, clean_servers, cache, settled_seconds=60) == 0
    assert collect_garbage(storage, sessions, clean_servers, cache, settled_seconds=-1) == 1
    assert collect_garbage(storage, sessions, clean_servers, cache, settled_seconds=-1) == 0
    assert not list(storage.list(clean_servers.bucket_work))
    with sessions.begin() as session:
        lifecycle.retry(session, job_id)
    assert take(sessions, job_id, StageName.GEOMETRY, dispatch=2)[0] is Decision.IGNORE
    decision, job = take(sessions, job_id, StageName.PREPROCESS, dispatch=2)
    assert decision is Decision.WORK
    assert job is not None
    assert job.prefixes == {}


def test_what_a_worker_wrote_after_an_erasure_goes_when_its_garbage_is_collected(
    sessions: sessionmaker[Session], clean_servers: Settings
) -> None:
    storage, cache = Storage.from_settings(clean_servers), open_cache(clean_servers)
    job_id = accept(sessions).job_id
    _, job = take(sessions, job_id, StageName.PREPROCESS)
    assert job is not None
    erase_job(storage, sessions, clean_servers, cache, job_id)
    with pytest.raises(LeaseLost):
        complete(sessions, job)
    storage.put(clean_servers.bucket_work, f"{job_id}/preprocess/1/late.bin", b"x", content_type="a/b")
    storage.put(clean_servers.bucket_assets, f"{job_id}/1/late.bin", b"x", content_type="a/b")
    assert collect_garbage(storage, sessions, clean_servers, cache, settled_seconds=-1) == 1
    assert not list(storage.list(clean_servers.bucket_work))
    assert not list(storage.list(clean_servers.bucket_assets))


def test_erasing_one_of_two_jobs_keeps_the_photo_that_the_other_needs(
    sessions: sessionmaker[Session], clean_servers: Settings
) -> None:
    storage, cache = Storage.from_settings(clean_servers), open_cache(clean_servers)
    inbox = clean_servers.bucket_inbox
    etag = storage.put(inbox, "a.jpg", b"photo", content_type="image/jpeg")
    made = []
    for options in (JobOptions(), JobOptions(texture_size=1024)):
        with sessions.begin() as session:
            made.append(
                acceptance.accept(
                    session,
                    bucket=inbox,
                    key="a.jpg",
                    etag=etag,
                    size=5,
                    content_type=None,
                    options=options,
                    source="event",
                ).job_id
            )
    erase_job(storage, sessions, clean_servers, cache, made[0])
    assert storage.get(inbox, "a.jpg", if_match=etag) == b"photo"
    erase_job(storage, sessions, clean_servers, cache, made[1])
    assert not list(storage.list(inbox))


def test_erasing_a_refused_job_forgets_what_the_caller_wrote(
    sessions: sessionmaker[Session], clean_servers: Settings
) -> None:
    storage, cache = Storage.from_settings(clean_servers), open_cache(clean_servers)
    with sessions.begin() as session:
        job_id = acceptance.accept(
            session,
            bucket=clean_servers.bucket_inbox,
            key="a.jpg",
            etag="e",
            size=1,
            content_type=None,
            options=None,
            refusal=RefusedError(ErrorCode.BAD_OPTION, "No.", value="marlene/front.jpg", limit=""),
            source="event",
        ).job_id
    erase_job(storage, sessions, clean_servers, cache, job_id)
    with sessions() as session:
        dump = str(session.execute(text("SELECT row_to_json(jobs) FROM jobs")).scalar())
    assert "marlene" not in dump
