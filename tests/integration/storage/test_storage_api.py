"""Intake and job API on real servers: an upload by any way is one job, its files are fetched and erased."""

import json
from collections.abc import Iterator

import httpx
import pytest

from db.queries import known_uploads
from db.session import make_session_factory
from face3d.settings import Settings
from storage.client import Storage
from storage.sweep import find_unknown
from tests.acceptance.stand_in import TOO_SMALL, StandIn, make_glb
from tests.web_client import TestClient
from web.app import create_app

PHOTO = b"p" * (TOO_SMALL + 1)


@pytest.fixture
def settings(clean_servers: Settings) -> Settings:
    return clean_servers.model_copy(update={"engine": "null", "max_bytes": 1_000_000})


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage.from_settings(settings)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {settings.api_token.get_secret_value()}"}
    with TestClient(create_app(settings), headers=headers) as opened:
        yield opened


def announce(client: TestClient, settings: Settings, key: str) -> list[str]:
    """POST what SeaweedFS would; returns the jobs' ids."""
    event = {
        "event_type": "create",
        "key": f"/buckets/{settings.bucket_inbox}/{key}",
        "message": {"new_entry": {"name": key}},
    }
    token = settings.event_token.get_secret_value()
    answer = client.post(
        "/events/storage/seaweedfs", json=event, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200
    return list(answer.json()["jobs"])


def upload(client: TestClient, photo: bytes = PHOTO, **options: str) -> httpx.Response:
    return client.post("/v1/jobs", files={"photo": ("me.jpg", photo, "image/jpeg")}, data=options)


def follow(client: TestClient, job_id: str) -> list[dict[str, object]]:
    """Return what the progress stream said, until it ended."""
    text = client.get(f"/v1/jobs/{job_id}/events").text
    assert text.rstrip().endswith("event: end\ndata: {}")
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith('data: {"')
    ]


def test_event_twice_and_sweep_are_one_job_and_another_option_a_second(
    client: TestClient, settings: Settings, storage: Storage
) -> None:
    inbox, key = settings.bucket_inbox, "in/José photo+1.jpg"
    storage.put(inbox, key, PHOTO, content_type="image/jpeg", metadata={"face3d-ref": "é"})
    first = announce(client, settings, key)
    assert announce(client, settings, key) == first
    sessions = make_session_factory(settings)
    with sessions() as session:
        unknown = find_unknown(storage, inbox, lambda pairs: known_uploads(session, inbox, pairs))
        assert list(unknown) == []
    storage.put(inbox, key, PHOTO, content_type="image/jpeg", metadata={"face3d-texture-size": "1024"})
    second = announce(client, settings, key)
    assert second != first
    assert len(client.get("/v1/jobs").json()["jobs"]) == 2
    found = client.get("/v1/lookup", params={"bucket": inbox, "key": key}).json()
    assert found["id"] == second[0]
    assert found["options"]["texture-size"] == 1024
    assert client.get(f"/v1/jobs/{first[0]}").json()["ref"] == "é"


def test_a_bad_option_in_metadata_is_a_failed_job_that_says_why(
    client: TestClient, settings: Settings, storage: Storage
) -> None:
    metadata = {"face3d-engine": "magic"}
    storage.put(settings.bucket_inbox, "a.jpg", PHOTO, content_type="image/jpeg", metadata=metadata)
    (job_id,) = announce(client, settings, "a.jpg")
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["error"]["code"], job["error"]["value"]) == ("failed", "bad_option", "magic")
    assert "anny" in job["error"]["limit"]
    assert client.post(f"/v1/jobs/{job_id}/retry").json()["code"] == "wrong_state"


def test_an_event_of_an_object_that_is_gone_makes_no_job(client: TestClient, settings: Settings) -> None:
    assert announce(client, settings, "never-there.jpg") == []


def test_an_upload_is_interactive_and_its_own_event_finds_the_same_job(
    client: TestClient, settings: Settings
) -> None:
    answer = upload(client, ref="order ü 7")
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["tier"], job["source"], job["ref"], job["state"]) == (
        "interactive",
        "api",
        "order ü 7",
        "accepted",
    )
    assert job["options"]["engine"] == "null"
    assert "me.jpg" not in job["photo"]["key"]
    assert announce(client, settings, job["photo"]["key"]) == [job["id"]]


@pytest.mark.parametrize(
    ("photo", "options", "status", "code", "limit"),
    [
        (PHOTO, {"texture-size": "5"}, 422, "bad_option", "1024, 2048, 4096, 8192"),
        (PHOTO, {"colour": "red"}, 422, "bad_option", None),
        (b"x" * 1_000_001, {}, 413, "image_too_large", 1_000_000),
    ],
)
def test_a_refused_upload_leaves_nothing_behind(
    client: TestClient,
    settings: Settings,
    storage: Storage,
    photo: bytes,
    options: dict[str, str],
    status: int,
    code: str,
    limit: object,
) -> None:
    answer = upload(client, photo, **options)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    if limit is not None:
        assert answer.json()["limit"] == limit
    assert list(storage.list(settings.bucket_inbox)) == []
    assert client.get("/v1/jobs").json() == {"jobs": [], "next": None}


def test_a_job_is_followed_to_its_files(client: TestClient, settings: Settings) -> None:
    with StandIn(settings, stage_seconds=0.1):
        job_id = upload(client).json()["id"]
        told = follow(client, job_id)
    assert told[-1]["state"] == "ready"
    percents = [view["percent"] for view in told]
    assert percents == sorted(percents)
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert [stage["state"] for stage in job["stages"]] == ["done"] * 4
    assert job["stages"][0]["device"] == "CPU"
    files = {file["name"]: file for file in job["files"]}
    assert files["head.glb"]["size"] == len(make_glb())

    answer = client.get(files["head.glb"]["url"], follow_redirects=False)
    assert answer.status_code == 307
    fetched = httpx.get(answer.headers["location"])
    assert fetched.content == make_glb()
    assert "head.glb" in fetched.headers["content-disposition"]
    direct = client.get(files["head.glb"]["url"], params={"direct": "true"})
    assert direct.content == make_glb()
    assert direct.headers["content-type"] == "model/gltf-binary"
    assert client.get(f"/v1/jobs/{job_id}/files/other.glb").json()["code"] == "not_found"


def test_a_refused_photo_ends_the_stream_with_its_reason(client: TestClient, settings: Settings) -> None:
    with StandIn(settings, stage_seconds=0.1):
        told = follow(client, upload(client, b"tiny").json()["id"])
    assert told[-1]["state"] == "failed"
    assert told[-1]["error"] == {
        "code": "face_too_small",
        "message": "The face is too small in this photo.",
        "value": 17.4,
        "limit": 40.0,
    }


def test_erasing_leaves_no_object_and_no_key(
    client: TestClient, settings: Settings, storage: Storage
) -> None:
    with StandIn(settings, stage_seconds=0.05):
        job_id = upload(client, ref="my name").json()["id"]
        follow(client, job_id)
    other = upload(client).json()["id"]
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    left = [info.key for info in storage.list(settings.bucket_inbox)]
    assert left == [client.get(f"/v1/jobs/{other}").json()["photo"]["key"]]
    assert list(storage.list(settings.bucket_assets)) == []
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["ref"], job["photo"]["etag"], job["files"]) == ("erased", None, "", [])
    assert "my name" not in json.dumps(job)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204


def test_erasing_spares_another_photo_under_the_same_key(
    client: TestClient, settings: Settings, storage: Storage
) -> None:
    storage.put(settings.bucket_inbox, "a.jpg", PHOTO, content_type="image/jpeg")
    (job_id,) = announce(client, settings, "a.jpg")
    storage.put(settings.bucket_inbox, "a.jpg", PHOTO + b"2", content_type="image/jpeg")
    client.delete(f"/v1/jobs/{job_id}")
    assert storage.get(settings.bucket_inbox, "a.jpg") == PHOTO + b"2"


def test_an_id_that_is_none_is_not_found_whatever_is_asked(client: TestClient) -> None:
    for answer in (client.get("/v1/jobs/nosuch"), client.delete("/v1/jobs/nosuch")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_cancel_and_retry(client: TestClient) -> None:
    job_id = upload(client).json()["id"]
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 409
    assert client.post(f"/v1/jobs/{job_id}/retry").json()["state"] == "accepted"
    for path in ("cancel", "retry"):
        assert client.post(f"/v1/jobs/nothing/{path}").status_code == 404


def test_lists_are_filtered_and_paged(client: TestClient) -> None:
    made = [upload(client).json()["id"] for _ in range(5)]
    client.post(f"/v1/jobs/{made[2]}/cancel")
    cancelled = client.get("/v1/jobs", params={"state": "cancelled"}).json()
    assert [job["id"] for job in cancelled["jobs"]] == [made[2]]
    seen, before = [], None
    while True:
        page = client.get("/v1/jobs", params={"limit": 2, **({"before": before} if before else {})}).json()
        seen += [job["id"] for job in page["jobs"]]
        if not (before := page["next"]):
            break
    assert seen == made[::-1]


def test_webhook_endpoints(client: TestClient) -> None:
    made = client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/hook"}).json()
    assert made["secret"].startswith("whsec_")
    (listed,) = client.get("/v1/webhooks").json()
    assert "secret" not in listed
    assert client.post(f"/v1/webhooks/{made['id']}/test").json()["delivery_id"].startswith("msg_")
    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 204
    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 404
    assert client.get("/v1/webhooks").json() == []


def test_readiness_names_what_is_missing(client: TestClient, settings: Settings) -> None:
    assert client.get("/readyz").json() == {
        "status": "ok",
        "checks": {"database": "ok", "broker": "ok", "storage": "ok"},
    }
    without = settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"})
    with TestClient(create_app(without)) as broken:
        answer = broken.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "ok", "broker": "ok", "storage": "failed"}
