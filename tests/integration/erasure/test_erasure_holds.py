"""An erased photo is gone and stays gone, whoever still speaks of it and whatever versions a bucket keeps."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db import acceptance, queries
from db.acceptance import Accepted
from face3d.messages import ObjectCreated
from face3d.settings import Settings
from storage.client import Storage
from storage.intake import Upload, option_defaults, read_upload
from tasks.artifacts import open_cache
from tasks.leftovers import age_inbox
from tasks.retention import collect_garbage, erase_expired, erase_job
from tasks.sweep import sweep_inbox
from tests.integration.job_rows import run_all

FRONT, TURNED = "people/front.jpg", "people/turned.jpg"


@pytest.fixture
def storage(clean_servers: Settings) -> Storage:
    return Storage.from_settings(clean_servers)


@pytest.fixture
def versioned(clean_servers: Settings, storage: Storage) -> Iterator[Settings]:
    """Settings whose buckets keep every version."""
    names = {f"bucket_{role}": f"versioned-{role}" for role in ("inbox", "work", "assets")}
    for bucket in names.values():
        storage.ensure_bucket(bucket)
        storage._client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    yield clean_servers.model_copy(update=names)
    for bucket in names.values():
        storage.delete_versions(bucket, list(storage.versions(bucket)))
        storage._client().delete_bucket(Bucket=bucket)


def put(storage: Storage, settings: Settings, key: str, data: bytes = b"photo", **options: str) -> str:
    metadata = {f"face3d-{name}": value for name, value in options.items()}
    return storage.put(settings.bucket_inbox, key, data, content_type="image/jpeg", metadata=metadata)


def look_at(storage: Storage, settings: Settings, key: str) -> Upload:
    event = ObjectCreated(bucket=settings.bucket_inbox, key=key)
    upload = read_upload(storage, event, defaults=option_defaults(settings), max_bytes=settings.max_bytes)
    assert upload is not None
    return upload


def accept(sessions: sessionmaker[Session], upload: Upload) -> Accepted:
    with sessions.begin() as session:
        return acceptance.accept(
            session,
            bucket=upload.bucket,
            key=upload.key,
            etag=upload.etag,
            size=upload.size,
            content_type=upload.content_type,
            options=upload.options,
            refusal=upload.refusal,
            modified_at=upload.modified_at,
            source="event",
        )


def keys_of_jobs(sessions: sessionmaker[Session]) -> set[str]:
    with sessions() as session:
        return set(session.scalars(text("SELECT key FROM jobs WHERE state <> 'erased'")))


def test_a_photo_that_an_unfinished_job_views_goes_and_the_sweep_brings_nothing_back(
    sessions: sessionmaker[Session], clean_servers: Settings, storage: Storage
) -> None:
    settings = clean_servers
    put(storage, settings, FRONT, ref="Marlene")
    put(storage, settings, TURNED, b"turned", **{"view-of": FRONT})
    erased = accept(sessions, look_at(storage, settings, FRONT)).job_id
    accept(sessions, look_at(storage, settings, TURNED))
    erase_job(storage, sessions, settings, open_cache(settings), erased)
    assert [info.key for info in storage.list(settings.bucket_inbox)] == [TURNED]
    assert sweep_inbox(storage, sessions, settings).made == 0
    assert keys_of_jobs(sessions) == {TURNED}
    with sessions() as session:
        assert "Marlene" not in str(session.execute(text("SELECT json_agg(jobs) FROM jobs")).scalar())


def test_retention_waits_for_the_job_that_views_a_photo(
    sessions: sessionmaker[Session], clean_servers: Settings, storage: Storage
) -> None:
    settings, cache = clean_servers, open_cache(clean_servers)
    put(storage, settings, FRONT)
    put(storage, settings, TURNED, b"turned", **{"view-of": FRONT})
    front = accept(sessions, look_at(storage, settings, FRONT)).job_id
    turned = accept(sessions, look_at(storage, settings, TURNED)).job_id
    run_all(sessions, front)
    with sessions.begin() as session:
        session.execute(
            text("UPDATE jobs SET finished_at = now() - interval '31 days' WHERE state = 'ready'")
        )
    assert erase_expired(storage, sessions, settings, cache) == 0
    run_all(sessions, turned)
    assert erase_expired(storage, sessions, settings, cache) == 1
    assert [info.key for info in storage.list(settings.bucket_inbox)] == [TURNED]


def test_an_event_that_saw_the_photo_before_its_erasure_makes_no_job(
    sessions: sessionmaker[Session], clean_servers: Settings, storage: Storage
) -> None:
    put(storage, clean_servers, FRONT, ref="Marlene")
    seen = look_at(storage, clean_servers, FRONT)
    erased = accept(sessions, seen).job_id
    erase_job(storage, sessions, clean_servers, open_cache(clean_servers), erased)
    assert accept(sessions, seen) == Accepted(job_id=erased, created=False)
    assert keys_of_jobs(sessions) == set()


def test_the_same_photo_uploaded_anew_after_its_erasure_makes_a_job(
    sessions: sessionmaker[Session], clean_servers: Settings, storage: Storage
) -> None:
    put(storage, clean_servers, FRONT)
    erased = accept(sessions, look_at(storage, clean_servers, FRONT)).job_id
    erase_job(storage, sessions, clean_servers, open_cache(clean_servers), erased)
    # Stores tell the time of an object in whole seconds.
    time.sleep(1.05)
    put(storage, clean_servers, FRONT)
    again = accept(sessions, look_at(storage, clean_servers, FRONT))
    assert again.created
    assert again.job_id != erased


def test_no_version_is_left_of_an_erased_photo_nor_of_its_asset(
    sessions: sessionmaker[Session], versioned: Settings, storage: Storage
) -> None:
    settings, cache, inbox = versioned, open_cache(versioned), versioned.bucket_inbox
    put(storage, settings, FRONT, b"an older photo")
    put(storage, settings, FRONT)
    put(storage, settings, FRONT)
    put(storage, settings, FRONT + ".more", b"another")
    job_id = accept(sessions, look_at(storage, settings, FRONT)).job_id
    for bucket, name in ((settings.bucket_work, "geometry/1/x"), (settings.bucket_assets, "1/head.glb")):
        for data in (b"one", b"two"):
            storage.put(bucket, f"{job_id}/{name}", data, content_type="a/b")
    storage.delete(settings.bucket_assets, f"{job_id}/1/head.glb")
    erase_job(storage, sessions, settings, cache, job_id)
    assert not list(storage.versions(settings.bucket_work))
    assert not list(storage.versions(settings.bucket_assets))
    # The version below does not come up: it would look like a new upload.
    assert [info.key for info in storage.list(inbox)] == [FRONT + ".more"]
    older = [one for one in storage.versions(inbox, FRONT) if one.key == FRONT and not one.is_marker]
    assert len(older) == 1
    assert sweep_inbox(storage, sessions, settings).made == 1
    # The covered version belongs to no job: it goes when it is old, and the last marker with it.
    assert age_inbox(storage, sessions, settings, older_than_seconds=-60) == 1
    assert {one.key for one in storage.versions(inbox)} == {FRONT + ".more"}


def test_garbage_collection_leaves_no_version_of_what_a_job_no_longer_needs(
    sessions: sessionmaker[Session], versioned: Settings, storage: Storage
) -> None:
    settings = versioned
    put(storage, settings, FRONT)
    job_id = accept(sessions, look_at(storage, settings, FRONT)).job_id
    run_all(sessions, job_id)
    with sessions() as session:
        asset = str(queries.find(session, job_id).asset_prefix)
    storage.put(settings.bucket_work, f"{job_id}/geometry/1/x", b"x", content_type="a/b")
    for prefix in (asset, f"{job_id}/99/"):
        storage.put(settings.bucket_assets, f"{prefix}head.glb", b"x", content_type="a/b")
    assert collect_garbage(storage, sessions, settings, open_cache(settings), settled_seconds=-1) == 1
    assert not list(storage.versions(settings.bucket_work))
    assert [one.key for one in storage.versions(settings.bucket_assets)] == [f"{asset}head.glb"]
