"""Retention reaches everything, and nothing that fails stops what lies behind it."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db import acceptance, job_erasure, lifecycle, queries, upkeep, webhooks
from face3d.errors import StorageUnavailable
from face3d.options import JobOptions
from face3d.settings import Settings
from storage.client import Storage
from storage.connection import StorageConfig
from tasks.artifacts import HostCache, open_cache
from tasks.leftovers import abort_stale_uploads, age_inbox
from tasks.retention import collect_garbage, end_endless, erase_expired
from tests.integration.job_rows import accept, run_all

#: Every object is older than this.
ANY_AGE = -60.0


class Stubborn(Storage):
    """A store that keeps what belongs to some jobs."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(StorageConfig.from_settings(settings))
        self.keeps: set[str] = set()
        self.asked: list[str] = []

    def delete_prefix(self, bucket: str, prefix: str, *, keep: str | None = None) -> int:
        self.asked.append(prefix.rstrip("/"))
        if prefix.rstrip("/") in self.keeps:
            raise StorageUnavailable
        return super().delete_prefix(bucket, prefix, keep=keep)


@pytest.fixture
def settings(clean_servers: Settings) -> Iterator[Settings]:
    storage = Storage.from_settings(clean_servers)
    storage.ensure_bucket("inbox")
    yield clean_servers.model_copy(update={"bucket_inbox": "inbox"})
    for info in list(storage.list("inbox")):
        storage.delete("inbox", info.key)


@pytest.fixture
def storage(settings: Settings) -> Stubborn:
    return Stubborn(settings)


@pytest.fixture
def cache(settings: Settings) -> HostCache:
    return open_cache(settings)


def make_old(sessions: sessionmaker[Session], *names: str, days: int = 31) -> list[str]:
    """Return jobs that ended that many days ago, the first one first."""
    made = [accept(sessions, name).job_id for name in names]
    for number, job_id in enumerate(made):
        run_all(sessions, job_id)
        age(sessions, job_id, "finished_at", days=days, minutes=-number)
    return made


def age(sessions: sessionmaker[Session], job_id: str, column: str, *, days: int, minutes: int = 0) -> None:
    with sessions.begin() as session:
        session.execute(
            text(f"UPDATE jobs SET {column} = now() - make_interval(days => :d, mins => :m) WHERE id = :id"),
            {"id": job_id, "d": days, "m": minutes},
        )


def states(sessions: sessionmaker[Session], *ids: str) -> list[str]:
    with sessions() as session:
        return [queries.find(session, job_id).state for job_id in ids]


def forget_waits(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET upkeep_due_at = now() WHERE upkeep_due_at IS NOT NULL"))


def test_one_erasure_that_fails_does_not_end_retention_for_those_behind_it(
    sessions: sessionmaker[Session], settings: Settings, storage: Stubborn, cache: HostCache
) -> None:
    first, second, third = make_old(sessions, "1.jpg", "2.jpg", "3.jpg")
    storage.keeps = {first}
    assert erase_expired(storage, sessions, settings, cache) == 2
    assert states(sessions, second, third) == ["erased", "erased"]
    with sessions() as session:
        overdue = upkeep.read_overdue(session, retention_days=settings.retention_days)
    assert overdue.failing_jobs == 1
    assert overdue.retention_seconds == pytest.approx(86400, abs=60)
    # It waits: a window of one job is not filled by it for ever.
    (fourth,) = make_old(sessions, "4.jpg")
    storage.asked.clear()
    assert erase_expired(storage, sessions, settings, cache, limit=1) == 1
    assert set(storage.asked) == {fourth}
    forget_waits(sessions)
    assert erase_expired(storage, sessions, settings, cache) == 0
    with sessions() as session:
        waits = session.execute(
            text("SELECT extract(epoch FROM upkeep_due_at - now()) FROM jobs WHERE id = :id"), {"id": first}
        ).scalar_one()
    assert float(waits) == pytest.approx(120, abs=30)
    storage.keeps = set()
    forget_waits(sessions)
    assert erase_expired(storage, sessions, settings, cache) == 1
    with sessions() as session:
        overdue = upkeep.read_overdue(session, retention_days=settings.retention_days)
    assert (overdue.failing_jobs, overdue.retention_seconds) == (0, 0.0)


def test_one_job_whose_garbage_stays_does_not_keep_the_others_artifacts(
    sessions: sessionmaker[Session], settings: Settings, storage: Stubborn, cache: HostCache
) -> None:
    first, second = make_old(sessions, "1.jpg", "2.jpg", days=1)
    for job_id in (first, second):
        storage.put(settings.bucket_work, f"{job_id}/geometry/1/x", b"x", content_type="a/b")
    storage.keeps = {first}
    assert collect_garbage(storage, sessions, settings, cache) == 1
    assert [info.key for info in storage.list(settings.bucket_work)] == [f"{first}/geometry/1/x"]
    storage.keeps = set()
    forget_waits(sessions)
    assert collect_garbage(storage, sessions, settings, cache) == 1
    assert not list(storage.list(settings.bucket_work))


def test_a_store_that_answers_nobody_is_no_job_s_fault(
    sessions: sessionmaker[Session], settings: Settings, cache: HostCache
) -> None:
    make_old(sessions, "1.jpg", "2.jpg")
    away = Stubborn(settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"}))
    with pytest.raises(StorageUnavailable):
        erase_expired(away, sessions, settings, cache)
    with sessions() as session:
        assert upkeep.read_overdue(session, retention_days=30).failing_jobs == 0


def test_an_erasure_that_broke_off_is_ended_by_the_relay(
    sessions: sessionmaker[Session], settings: Settings, storage: Stubborn, cache: HostCache
) -> None:
    job_id = accept(sessions).job_id
    with sessions.begin() as session:
        job_erasure.begin_erasure(session, job_id)
    with sessions.begin() as session, pytest.raises(lifecycle.WrongJobState, match="being erased"):
        lifecycle.retry(session, job_id)
    assert erase_expired(storage, sessions, settings, cache) == 0
    age(sessions, job_id, "erasure_asked_at", days=0, minutes=10)
    assert erase_expired(storage, sessions, settings, cache) == 1
    assert states(sessions, job_id) == ["erased"]


def test_a_job_that_never_ends_fails_and_is_erased_once_its_webhook_went_out(
    sessions: sessionmaker[Session], settings: Settings, storage: Stubborn, cache: HostCache
) -> None:
    with sessions.begin() as session:
        webhooks.add_endpoint(session, "https://example.com/hook")
    stuck, retried, young = (accept(sessions, name).job_id for name in ("1.jpg", "2.jpg", "3.jpg"))
    for job_id in (stuck, retried):
        age(sessions, job_id, "created_at", days=31)
    with sessions.begin() as session:
        lifecycle.cancel(session, retried)
        lifecycle.retry(session, retried)
    assert end_endless(storage, sessions, settings) == 1
    assert states(sessions, stuck, retried, young) == ["failed", "accepted", "accepted"]
    with sessions() as session:
        job = queries.find(session, stuck)
        assert job.error_code == "never_finished"
        payloads = session.scalars(text("SELECT payload FROM deliveries")).all()
    assert [payload["data"]["error"]["code"] for payload in payloads] == ["never_finished"]
    assert erase_expired(storage, sessions, settings, cache) == 0
    age(sessions, stuck, "finished_at", days=2)
    assert erase_expired(storage, sessions, settings, cache) == 1
    assert states(sessions, stuck) == ["erased"]


def test_photos_are_kept_for_ever_where_the_settings_say_so(
    sessions: sessionmaker[Session], settings: Settings, storage: Stubborn, cache: HostCache
) -> None:
    kept = settings.model_copy(update={"retention_days": 0.0})
    (old,) = make_old(sessions, "1.jpg", days=4000)
    stuck = accept(sessions, "2.jpg").job_id
    age(sessions, stuck, "created_at", days=4000)
    storage.put("inbox", "folder/", b"", content_type="application/x-directory")
    assert erase_expired(storage, sessions, kept, cache) == 0
    assert end_endless(storage, sessions, kept) == 0
    assert age_inbox(storage, sessions, kept) == 0
    assert states(sessions, old, stuck) == ["ready", "accepted"]


def test_uploads_in_parts_that_nobody_ended_go_in_every_bucket(settings: Settings, storage: Stubborn) -> None:
    client = storage._client()
    buckets = (settings.bucket_inbox, settings.bucket_work, settings.bucket_assets)
    for bucket in buckets:
        upload = client.create_multipart_upload(Bucket=bucket, Key="marlene.jpg")
        client.upload_part(
            Bucket=bucket, Key="marlene.jpg", UploadId=upload["UploadId"], PartNumber=1, Body=b"half a photo"
        )
    assert abort_stale_uploads(storage, settings) == 0
    assert abort_stale_uploads(storage, settings, older_than_seconds=ANY_AGE) == 3
    assert not [one for bucket in buckets for one in storage.unfinished_uploads(bucket)]


def test_what_intake_passes_over_goes_when_it_is_old_and_a_job_s_photo_stays(
    sessions: sessionmaker[Session], settings: Settings, storage: Stubborn
) -> None:
    for key in ("Marlene Example/", "Marlene Example/photo.jpg", "no job was made of it.jpg"):
        etag = storage.put("inbox", key, key.encode(), content_type="image/jpeg")
        if key.endswith("/photo.jpg"):
            with sessions.begin() as session:
                acceptance.accept(
                    session,
                    bucket="inbox",
                    key=key,
                    etag=etag,
                    size=1,
                    content_type=None,
                    options=JobOptions(),
                    source="event",
                )
    assert age_inbox(storage, sessions, settings) == 0
    assert age_inbox(storage, sessions, settings, older_than_seconds=ANY_AGE) == 2
    assert [info.key for info in storage.list("inbox")] == ["Marlene Example/photo.jpg"]
