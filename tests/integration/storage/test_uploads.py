"""Uploads of every odd kind on real servers: none stops another, each is one job, text is as it was meant."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from cli.inbox_diagnosis import examine_inbox
from db import acceptance, queries
from db.session import DatabaseUnavailable
from face3d.errors import StorageUnavailable
from face3d.settings import Settings
from storage.client import Storage
from storage.connection import StorageConfig
from storage.errors import ObjectMissing, ObjectRefused
from storage.objects import ObjectInfo
from tasks.sweep import sweep_inbox
from tests.integration.raw_s3 import put_raw
from tests.unit.storage.test_sns import TOPIC, Amazon, message
from tests.web_client import TestClient
from web.app import create_app
from web.middleware.lanes import PLACES

PHOTO = b"no real photo"


@pytest.fixture
def settings(clean_servers: Settings) -> Settings:
    return clean_servers.model_copy(update={"engine": "null"})


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage.from_settings(settings)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {settings.api_token.get_secret_value()}"}
    with TestClient(create_app(settings), headers=headers, raise_server_exceptions=False) as opened:
        yield opened


def post_event(client: TestClient, settings: Settings, kind: str, event: object) -> httpx.Response:
    token = settings.event_token.get_secret_value()
    return client.post(
        f"/events/storage/{kind}", content=json.dumps(event), headers={"Authorization": f"Bearer {token}"}
    )


def announce(client: TestClient, settings: Settings, *keys: str) -> httpx.Response:
    """POST what Ceph would, whose keys are not encoded."""
    records = [
        {
            "eventVersion": "2.2",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": settings.bucket_inbox}, "object": {"key": key}},
        }
        for key in keys
    ]
    return post_event(client, settings, "ceph", {"Records": records})


def post_form(storage: Storage, settings: Settings, key: str, metadata: dict[str, str]) -> None:
    """Upload as a browser's form does: metadata are UTF-8 and may be any text."""
    fields = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
    form = storage._client().generate_presigned_post(
        settings.bucket_inbox,
        key,
        Fields=fields,
        Conditions=[["starts-with", f"${name}", ""] for name in fields],
    )
    assert httpx.post(form["url"], data=form["fields"], files={"file": ("a", PHOTO)}).status_code == 204


#: Key to the bytes of `face3d-ref`: what no option can be.
ODD_REFS = {
    "1.jpg": b"=?utf-8?Q?a=00b?=",
    "2.jpg": b"=?utf-8?Q?=1B[2J?=",
    "3.jpg": b"x" * 600,
    "4.jpg": b"\x80\x81 \xff",
}

#: What is text, if not one that anybody meant.
ODD_WORDS = {
    "5.jpg": b"=?idna?Q?xn--a?=",
    "6.jpg": b"=?punycode?Q?a-b-99999999?=",
    "7.jpg": b"=?utf-7?Q?+2AA-?=",
    "8.jpg": b"=?x-odd?B?////?=",
}


def put_odd_objects(storage: Storage, settings: Settings) -> None:
    """PUT objects with metadata of every odd kind, and after them by name a good one."""
    for key, ref in {**ODD_REFS, **ODD_WORDS}.items():
        assert put_raw(settings, key, PHOTO, {"x-amz-meta-face3d-ref": ref}) == 200
    # A name that only a form can send, and a value with control characters.
    post_form(storage, settings, "80.jpg", {"face3d-ref": "a\x00b"})
    # More headers than Python's HTTP client reads, and a longer one.
    assert put_raw(settings, "81.jpg", PHOTO, {f"x-amz-meta-n{i}": b"x" for i in range(120)}) == 200
    assert put_raw(settings, "82.jpg", PHOTO, {"x-amz-meta-face3d-ref": b"x" * 70_000}) == 200
    # Names of options that there are not, one of them longer than any.
    assert put_raw(settings, "83.jpg", PHOTO, {"x-amz-meta-face3d-" + "n" * 300: b"x"}) == 200
    storage.put(settings.bucket_inbox, "9.jpg", PHOTO, content_type="image/jpeg")


def errors_by_key(sessions: sessionmaker[Session]) -> dict[str, str | None]:
    with sessions() as session:
        return {job.key: job.error_code for job in queries.list_jobs(session)}


EXPECTED = {
    **dict.fromkeys((*ODD_REFS, "80.jpg", "81.jpg", "82.jpg", "83.jpg"), "bad_option"),
    **dict.fromkeys((*ODD_WORDS, "9.jpg"), None),
}


def test_no_metadata_hide_the_photos_behind_them_from_the_sweep(
    storage: Storage, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    put_odd_objects(storage, settings)
    result = sweep_inbox(storage, sessions, settings)
    assert (result.made, result.failures) == (len(EXPECTED), 0)
    assert errors_by_key(sessions) == EXPECTED
    assert sweep_inbox(storage, sessions, settings).made == 0


def test_no_metadata_make_an_event_fail(
    client: TestClient, storage: Storage, settings: Settings, sessions: sessionmaker[Session]
) -> None:
    put_odd_objects(storage, settings)
    for key in EXPECTED:
        answer = announce(client, settings, key)
        assert (answer.status_code, len(answer.json()["jobs"])) == (200, 1), key
    assert errors_by_key(sessions) == EXPECTED
    assert sweep_inbox(storage, sessions, settings).made == 0
    for job in client.get("/v1/jobs").json()["jobs"]:
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert list(storage.list(settings.bucket_inbox)) == []


class Broken(Storage):
    """A store that fails on one object."""

    def __init__(self, settings: Settings, bad: dict[str, Exception]) -> None:
        super().__init__(Storage.from_settings(settings)._config)
        self.bad = bad

    def head(self, bucket: str, key: str) -> ObjectInfo:
        if key in self.bad:
            raise self.bad[key]
        return super().head(bucket, key)


def test_an_object_that_fails_is_counted_and_told_without_its_key(
    storage: Storage,
    settings: Settings,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key in ("private-1.jpg", "private-2.jpg", "private-3.jpg", "private-4.jpg", "z.jpg"):
        storage.put(settings.bucket_inbox, key, PHOTO, content_type="image/jpeg")
    real = acceptance.accept

    def accept(session: Session, **values: Any) -> acceptance.Accepted:
        # What the database's own driver refuses: a lone surrogate, a NUL.
        odd = {"private-1.jpg": "\ud800", "private-2.jpg": "a\x00b"}.get(values["key"])
        return real(session, **{**values, **({"content_type": odd} if odd else {})})

    monkeypatch.setattr("tasks.intake.accept", accept)
    broken = Broken(
        settings, {"private-3.jpg": StorageUnavailable(), "private-4.jpg": RuntimeError("private-4.jpg")}
    )
    result = sweep_inbox(broken, sessions, settings)
    assert (result.made, result.failures) == (1, 4)
    assert list(errors_by_key(sessions)) == ["z.jpg"]
    logged = capsys.readouterr()
    assert "sweep.failed" in logged.out + logged.err
    assert "private" not in logged.out + logged.err


def test_what_the_database_refuses_of_one_record_costs_no_other_its_job(
    client: TestClient, storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("1.jpg", "2.jpg", "good.jpg"):
        storage.put(settings.bucket_inbox, key, PHOTO, content_type="image/jpeg")
    real = acceptance.accept

    def accept(session: Session, **values: Any) -> acceptance.Accepted:
        odd = {"1.jpg": "\ud800", "2.jpg": "a\x00b"}.get(values["key"])
        return real(session, **{**values, **({"content_type": odd} if odd else {})})

    monkeypatch.setattr("tasks.intake.accept", accept)
    answer = announce(client, settings, "1.jpg", "2.jpg", "good.jpg")
    assert (answer.status_code, len(answer.json()["jobs"])) == (200, 1)
    assert answer.json()["refused"] == {"not_storable": 2}
    alone = announce(client, settings, "1.jpg")
    assert (alone.status_code, alone.json()["code"]) == (400, "invalid_event")


def test_a_photo_whose_upload_is_answered_with_503_makes_no_job_later(
    client: TestClient,
    settings: Settings,
    storage: Storage,
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("The database does not answer.")

    monkeypatch.setattr("web.uploads.accept", fail)
    answer = client.post("/v1/jobs", files={"photo": ("a.jpg", PHOTO)})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert list(storage.list(settings.bucket_inbox)) == []
    monkeypatch.undo()
    # As it was told, the client sends it again.
    assert client.post("/v1/jobs", files={"photo": ("a.jpg", PHOTO)}).status_code == 202
    sweep_inbox(storage, sessions, settings)
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1


def test_a_database_that_is_away_ends_the_sweep_as_a_whole(
    storage: Storage, settings: Settings, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put(settings.bucket_inbox, "a.jpg", PHOTO, content_type="image/jpeg")
    away = create_engine("postgresql+psycopg://face3d@127.0.0.1:9/face3d")

    def accept(session: Session, **_: Any) -> acceptance.Accepted:
        sessions.configure(bind=away)
        session.execute(text("SELECT 1 / 0"))
        raise AssertionError

    monkeypatch.setattr("tasks.intake.accept", accept)
    bind = sessions.kw["bind"]
    try:
        with pytest.raises(OperationalError):
            sweep_inbox(storage, sessions, settings)
    finally:
        sessions.configure(bind=bind)


def test_a_store_that_is_away_ends_the_sweep_as_a_whole(
    settings: Settings, sessions: sessionmaker[Session]
) -> None:
    config = StorageConfig(
        endpoint="http://127.0.0.1:9",
        public_endpoint=None,
        region="r",
        access_key="a",
        secret_key="b",
        attempts=1,
    )
    with pytest.raises(StorageUnavailable):
        sweep_inbox(Storage(config), sessions, settings)


def test_text_in_metadata_is_what_its_writer_meant(
    client: TestClient, storage: Storage, settings: Settings
) -> None:
    meant = "voilà, José 深い Å"
    sent = {
        "utf8.jpg": meant.encode(),
        "latin.jpg": "voilà, José Å".encode("latin-1"),
        "words.jpg": b"=?UTF-8?B?dm9pbMOgLCBKb3PDqSA=?= =?utf-8?Q?=E6=B7=B1=E3=81=84_=C3?= =?utf-8?Q?=85?=",
        "mixed.jpg": "voilà, ".encode() + b"=?UTF-8?Q?Jos=C3=A9_=E6=B7=B1=E3=81=84_=C3=85?=",
    }
    for key, ref in sent.items():
        assert put_raw(settings, key, PHOTO, {"x-amz-meta-face3d-ref": ref}) == 200
    post_form(storage, settings, "form.jpg", {"face3d-ref": meant})
    for key in (*sent, "form.jpg"):
        (job_id,) = announce(client, settings, key).json()["jobs"]
        expected = "voilà, José Å" if key == "latin.jpg" else meant
        assert client.get(f"/v1/jobs/{job_id}").json()["ref"] == expected, key


@pytest.mark.parametrize("key", ["a/../b.jpg", "a/./b.jpg", ".", "x/..", "a\x00b", "\ud800.jpg", "k" * 1025])
def test_an_event_of_a_key_that_can_never_be_is_400(client: TestClient, settings: Settings, key: str) -> None:
    answer = announce(client, settings, key)
    assert (answer.status_code, answer.json()["code"]) in ((400, "key_refused"), (400, "invalid_event"))


def test_of_several_records_each_counts_for_itself(
    client: TestClient, storage: Storage, settings: Settings
) -> None:
    storage.put(settings.bucket_inbox, "good.jpg", PHOTO, content_type="image/jpeg")
    answer = announce(client, settings, "a/../b.jpg", "x" * 1025, "good.jpg", "gone.jpg", "a\x00b")
    report = answer.json()
    assert (answer.status_code, report["events"], len(report["jobs"])) == (200, 3, 1)
    assert report["refused"] == {"key_refused": 1, "invalid_event": 2}


def test_a_record_that_the_store_fails_on_costs_no_other_its_job(
    client: TestClient, storage: Storage, settings: Settings
) -> None:
    for key in ("bad.jpg", "good.jpg"):
        storage.put(settings.bucket_inbox, key, PHOTO, content_type="image/jpeg")
    app: Any = client.app
    app.state.context = replace(
        app.state.context, storage=Broken(settings, {"bad.jpg": StorageUnavailable()})
    )
    assert announce(client, settings, "bad.jpg", "good.jpg").status_code == 503
    assert [job["photo"]["key"] for job in client.get("/v1/jobs").json()["jobs"]] == ["good.jpg"]


@pytest.mark.parametrize("key", ["/lead.jpg", "x//y.jpg", "//x///z z.jpg", "x\\w.jpg"])
def test_lookup_knows_a_key_that_the_store_wrote_otherwise(
    client: TestClient, settings: Settings, sessions: sessionmaker[Session], storage: Storage, key: str
) -> None:
    assert put_raw(settings, key, PHOTO, {}) == 200
    wanted = {"bucket": settings.bucket_inbox, "key": key}
    assert client.get("/v1/lookup", params=wanted).status_code == 404
    assert sweep_inbox(storage, sessions, settings).made == 1
    found = client.get("/v1/lookup", params=wanted)
    assert found.status_code == 200
    assert found.json()["photo"]["key"] == key.replace("\\", "/").lstrip("/").replace("///", "/").replace(
        "//", "/"
    )
    other = client.get("/v1/lookup", params={**wanted, "key": f"{key}2"})
    assert other.status_code == 404


def test_a_store_that_keeps_keys_apart_gets_no_other_objects_job(
    client: TestClient, storage: Storage, settings: Settings
) -> None:
    """To AWS `x//y.jpg` and `x/y.jpg` are two objects."""

    class Exact(Storage):
        def head(self, bucket: str, key: str) -> ObjectInfo:
            return replace(super().head(bucket, key), etag=f"etag of {key}")

    storage.put(settings.bucket_inbox, "x/y.jpg", PHOTO, content_type="image/jpeg")
    announce(client, settings, "x/y.jpg")
    app: Any = client.app
    app.state.context = replace(app.state.context, storage=Exact(storage._config))
    wanted = {"bucket": settings.bucket_inbox, "key": "x//y.jpg"}
    assert client.get("/v1/lookup", params=wanted).status_code == 404


def test_lookups_that_wait_for_the_storage_hold_up_nobody_else(
    client: TestClient, settings: Settings, storage: Storage
) -> None:
    answers = threading.Event()

    class Hanging(Storage):
        def stored_key(self, bucket: str, key: str) -> str:
            answers.wait(20)
            return key

    app: Any = client.app
    app.state.context = replace(app.state.context, storage=Hanging(storage._config))
    wanted = [{"bucket": settings.bucket_inbox, "key": f"/{number}.jpg"} for number in range(PLACES)]
    with ThreadPoolExecutor(PLACES) as pool:
        waiting = [pool.submit(client.get, "/v1/lookup", params=one) for one in wanted]
        try:
            time.sleep(1)
            assert client.get("/v1/jobs").status_code == 200
            assert client.get("/v1/lookup", params={**wanted[0], "key": "plain.jpg"}).status_code == 404
        finally:
            answers.set()
        assert {future.result().status_code for future in waiting} == {404}


class Announcing(Storage):
    """A store whose event comes before its answer to the PUT."""

    def __init__(self, settings: Settings, client: TestClient) -> None:
        super().__init__(Storage.from_settings(settings)._config)
        self._settings, self._web = settings, client

    def put(self, bucket: str, key: str, *arguments: Any, **options: Any) -> str:
        etag = super().put(bucket, key, *arguments, **options)
        assert len(announce(self._web, self._settings, key).json()["jobs"]) == 1
        return etag


@pytest.mark.parametrize("event_first", [True, False])
def test_an_upload_is_the_apis_and_keeps_its_files_name(
    client: TestClient, settings: Settings, sessions: sessionmaker[Session], event_first: bool
) -> None:
    app: Any = client.app
    if event_first:
        app.state.context = replace(app.state.context, storage=Announcing(settings, client))
    answer = client.post("/v1/jobs", files={"photo": ("C:\\me\\José.jpg", PHOTO, "image/jpeg")})
    job = answer.json()
    assert (answer.status_code, job["source"], job["name"]) == (202, "api", "José.jpg")
    announce(client, settings, job["photo"]["key"])
    (listed,) = client.get("/v1/jobs").json()["jobs"]
    assert (listed["id"], listed["source"], listed["name"]) == (job["id"], "api", "José.jpg")
    assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job['id']}").json()["name"] is None
    with sessions() as session:
        assert queries.find(session, job["id"]).name is None


class Receiver(ThreadingHTTPServer):
    """Keeps what SeaweedFS POSTs."""

    def __init__(self, port: int) -> None:
        self.events: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.events.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    server = Receiver(settings.web_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def versioned(settings: Settings, storage: Storage) -> Iterator[Any]:
    """The inbox with versions; afterwards a new one without."""
    s3, bucket = storage._client(), settings.bucket_inbox
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    yield s3
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for item in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            s3.delete_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])
    s3.delete_bucket(Bucket=bucket)
    storage.ensure_bucket(bucket)


def wait_for_events(receiver: Receiver, count: int) -> list[dict[str, Any]]:
    """Return the events so far, once there are as many and no more come."""
    deadline = time.monotonic() + 10
    while len(receiver.events) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    taken, receiver.events = receiver.events, []
    return taken


def test_in_a_bucket_with_versions_each_content_is_one_job_by_event_and_sweep(
    client: TestClient,
    settings: Settings,
    storage: Storage,
    sessions: sessionmaker[Session],
    receiver: Receiver,
    versioned: Any,
) -> None:
    bucket, key = settings.bucket_inbox, "in/photo.jpg"

    def hear(count: int) -> None:
        for event in wait_for_events(receiver, count):
            assert post_event(client, settings, "seaweedfs", event).status_code == 200

    assert [(line.subject, line.ok) for line in examine_inbox(settings)] == [("inbox versions", True)]
    etags = []
    for number in range(2):
        etags.append(storage.put(bucket, key, b"photo %d" % number, content_type="image/jpeg"))
        hear(3)
        found = client.get("/v1/lookup", params={"bucket": bucket, "key": key}).json()
        assert found["photo"]["etag"] == etags[-1]
        assert storage.get(bucket, key, if_match=etags[-1]) == b"photo %d" % number
    storage.delete(bucket, key)
    hear(2)
    assert sweep_inbox(storage, sessions, settings).made == 0
    # What was deleted comes back: the same content is the same job.
    storage.put(bucket, key, b"photo 1", content_type="image/jpeg")
    hear(2)
    assert sweep_inbox(storage, sessions, settings).made == 0
    with sessions() as session:
        assert sorted((job.key, job.etag) for job in queries.list_jobs(session)) == sorted(
            (key, etag) for etag in etags
        )


def test_a_photo_in_a_bucket_with_versions_is_found_by_the_sweep_alone(
    client: TestClient,
    settings: Settings,
    storage: Storage,
    sessions: sessionmaker[Session],
    receiver: Receiver,
    versioned: Any,
) -> None:
    storage.put(settings.bucket_inbox, "late.jpg", PHOTO, content_type="image/jpeg")
    assert sweep_inbox(storage, sessions, settings).made == 1
    for event in wait_for_events(receiver, 3):
        post_event(client, settings, "seaweedfs", event)
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1


def use_amazon(client: TestClient, amazon: Amazon, *topics: str) -> None:
    app: Any = client.app
    context = app.state.context
    app.state.context = replace(
        context, sns=amazon.client, settings=context.settings.model_copy(update={"sns_topics": topics})
    )


def test_a_topic_waits_for_a_person_who_confirms_it(client: TestClient, settings: Settings) -> None:
    amazon = Amazon()
    use_amazon(client, amazon)
    answer = post_event(client, settings, "s3", message())
    assert (answer.status_code, answer.json()["pending_subscription"]) == (200, TOPIC)
    assert not amazon.asked
    assert [(line.subject, line.ok) for line in examine_inbox(settings)] == [("SNS topics", False)]
    (waiting,) = client.get("/v1/event-subscriptions").json()
    assert (waiting["topic"], waiting["confirmed_at"]) == (TOPIC, None)
    assert message()["Token"] not in client.get("/v1/event-subscriptions").text

    confirmed = client.post("/v1/event-subscriptions/confirm", json={"topic": TOPIC})
    assert confirmed.status_code == 200
    assert confirmed.json()["confirmed_at"]
    assert [url.params["Token"] for url in amazon.asked] == [message()["Token"]]
    # Neither doing it again nor the same message, nor an older one, changes anything.
    assert client.post("/v1/event-subscriptions/confirm", json={"topic": TOPIC}).status_code == 200
    for replay in (message(), message(Token="old", Timestamp="2026-01-01T00:00:00Z")):
        post_event(client, settings, "s3", replay)
        assert client.get("/v1/event-subscriptions").json()[0]["confirmed_at"]
    assert len(amazon.asked) == 1
    # A newer one waits again.
    newer = post_event(client, settings, "s3", message(Token="new", Timestamp="2026-05-01T00:00:00Z"))
    assert newer.json()["pending_subscription"] == TOPIC


def test_a_topic_of_the_settings_is_confirmed_when_amazon_signed_its_request(
    client: TestClient, settings: Settings
) -> None:
    amazon = Amazon()
    use_amazon(client, amazon, TOPIC)
    forged = post_event(client, settings, "s3", message(Signature="AAAA"))
    assert forged.json()["pending_subscription"] == TOPIC
    assert [url.path for url in amazon.asked] == ["/SimpleNotificationService-0123abcd.pem"]
    answer = post_event(client, settings, "s3", message())
    assert (answer.json()["pending_subscription"], answer.json()["confirmed_subscription"]) == (None, TOPIC)
    assert amazon.asked[-1].params["Token"] == message()["Token"]


def test_what_amazon_refuses_and_what_nobody_asked_for_is_told(
    client: TestClient, settings: Settings
) -> None:
    use_amazon(client, Amazon(lambda _: httpx.Response(403)))
    unknown = client.post("/v1/event-subscriptions/confirm", json={"topic": TOPIC})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    for odd in ('"\\ud800"', '"arn:\\u0000"', '"arn:\\ud800"', "5"):
        body = f'{{"topic": {odd}}}'
        assert client.post("/v1/event-subscriptions/confirm", content=body).status_code == 422
    post_event(client, settings, "s3", message())
    refused = client.post("/v1/event-subscriptions/confirm", json={"topic": TOPIC})
    assert (refused.status_code, refused.json()["code"]) == (409, "not_confirmed")
    use_amazon(client, Amazon(lambda _: httpx.Response(500)))
    away = client.post("/v1/event-subscriptions/confirm", json={"topic": TOPIC})
    assert (away.status_code, away.json()["code"]) == (502, "amazon_unavailable")


def test_a_key_that_seaweedfs_never_lists_is_none_of_ours_and_told_by_the_doctor(
    client: TestClient, storage: Storage, settings: Settings
) -> None:
    for key in ("a.versions/b.jpg", "in/a.versions/x/b.jpg", ".uploads/b.jpg"):
        assert put_raw(settings, key, PHOTO, {}) == 200
        with pytest.raises(ObjectRefused):
            storage.put(settings.bucket_inbox, key, PHOTO, content_type="image/jpeg")
        (job_id,) = announce(client, settings, key).json()["jobs"]
        assert [(line.subject, line.ok) for line in examine_inbox(settings)] == [("inbox keys", False)]
        assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
        with pytest.raises(ObjectMissing):
            storage.head(settings.bucket_inbox, key)
    assert [info.key for info in storage.list(settings.bucket_inbox)] == []
    assert list(examine_inbox(settings)) == []
