"""The app's edges that need no server: who may call, what every answer carries, how errors look."""

import base64
import json
from collections.abc import Iterator

import pytest

from face3d.options import OPTION_NAMES
from face3d.settings import Settings
from storage.events import EVENT_KINDS
from tests.web_client import TestClient
from web.app import create_app
from web.auth import COOKIE

API, EVENTS = "api-token-for-the-tests-only", "event-token-for-the-tests-only"

NOT_ASCII = {"Authorization": b"Basic \xff\xfe"}


def settings_with(api_token: str, event_token: str) -> Settings:
    """Return settings with S3 keys: without any, boto3 would look for them on the network."""
    keys = {"s3_access_key": "key", "s3_secret_key": "secret", "s3_endpoint": "http://127.0.0.1:9"}
    # Where nobody listens.
    servers = {
        "database_url": "postgresql+psycopg://face3d@127.0.0.1:9/face3d",
        "broker_url": "redis://127.0.0.1:9",
    }
    return Settings(**servers, api_token=api_token, event_token=event_token, **keys)


@pytest.fixture(scope="module")
def server() -> Iterator[TestClient]:
    app = create_app(settings_with(API, EVENTS))
    with TestClient(app, base_url="http://face3d") as opened:
        yield opened


@pytest.fixture
def client(server: TestClient) -> Iterator[TestClient]:
    yield server
    server.cookies.clear()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "path", ["/v1/jobs", "/v1/jobs/x", "/v1/webhooks", "/v1/lookup", "/v1/jobs/x/files/a", "/metrics"]
)
@pytest.mark.parametrize("headers", [{}, bearer("wrong"), bearer(""), bearer(EVENTS), {"Authorization": API}])
def test_the_api_wants_its_token(client: TestClient, path: str, headers: dict[str, str]) -> None:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthorized"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_without_a_token_in_the_settings_nobody_passes() -> None:
    with TestClient(create_app(settings_with("", ""))) as client:
        assert client.get("/v1/jobs", headers=bearer("")).status_code == 401
        assert client.post("/events/storage/s3", headers=bearer(""), content="{}").status_code == 401
        assert client.post("/session", data={"token": ""}).status_code == 401
        client.cookies.set(COOKIE, "99999999999.0")
        assert client.get("/v1/jobs").status_code == 401


def test_events_take_their_token_as_bearer_or_as_password(client: TestClient) -> None:
    basic = base64.b64encode(f"sns:{EVENTS}".encode()).decode()
    for headers in (bearer(EVENTS), {"Authorization": f"Basic {basic}"}):
        answer = client.post("/events/storage/s3", headers=headers, json={"Event": "s3:TestEvent"})
        assert (answer.status_code, answer.json()["events"]) == (200, 0)
    wrong = base64.b64encode(b"sns:wrong").decode()
    refused = [{}, bearer(API), *({"Authorization": f"Basic {text}"} for text in (wrong, "%%%", "", "a"))]
    for headers in (*refused, NOT_ASCII):
        assert client.post("/events/storage/s3", headers=headers, content="{}").status_code == 401


@pytest.mark.parametrize("origin", ["http://[", "http://face3d]", "//", "http://face3d:x", "\u00e9"])
@pytest.mark.parametrize("path", ["/session", "/session/end"])
def test_an_origin_that_cannot_be_read_is_a_foreign_one(client: TestClient, path: str, origin: str) -> None:
    answer = client.post(path, headers={"Origin": origin.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("secret", ["whsec_\u00e9", "whsec_\U0001f600" * 8, "whsec_ ", "\u00e9"])
def test_a_secret_that_is_no_base64_is_refused(client: TestClient, secret: str) -> None:
    new = {"url": "https://example.com/", "secret": secret}
    answer = client.post("/v1/webhooks", headers=bearer(API), json=new)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_request")


def test_events_that_are_not_understood_are_refused(client: TestClient) -> None:
    for kind, body in (("s3", "{}"), ("gcs", "{}"), ("minio", "]")):
        answer = client.post(f"/events/storage/{kind}", headers=bearer(EVENTS), content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_event")
    large = client.post("/events/storage/s3", headers=bearer(EVENTS), content=b" " * (1024 * 1024 + 1))
    assert large.status_code == 413


def test_events_of_other_buckets_make_no_jobs(client: TestClient) -> None:
    event = {
        "event_type": "create",
        "key": "/buckets/other/a.jpg",
        "message": {"new_entry": {"name": "a.jpg"}},
    }
    answer = client.post("/events/storage/seaweedfs", headers=bearer(EVENTS), json=event)
    assert answer.json() == {
        "events": 0,
        "jobs": [],
        "refused": {},
        "pending_subscription": None,
        "confirmed_subscription": None,
    }


@pytest.mark.parametrize("topic", ["arn:aws:sns:r:1:t", "https://example.org/", "\ud800"])
def test_a_subscription_that_amazon_cannot_have_sent_is_refused(client: TestClient, topic: str) -> None:
    body = json.dumps({"Type": "SubscriptionConfirmation", "TopicArn": topic, "SubscribeURL": "https://x/"})
    answer = client.post("/events/storage/s3", headers=bearer(EVENTS), content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_event")


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b"\x80", b"[" * 100_000, b'{"a":' * 50_000, b'"' + b"\xc3", b"", b"5", b"\x00"]
)
def test_a_body_that_is_no_event_is_400(client: TestClient, body: bytes) -> None:
    for kind in EVENT_KINDS:
        answer = client.post(f"/events/storage/{kind}", headers=bearer(EVENTS), content=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_event")


FORM = b'--B\r\nContent-Disposition: form-data; name="ref"\r\n\r\nxn--a\x80\r\n--B--\r\n'


@pytest.mark.parametrize("charset", ["idna", "punycode", "undefined", "utf-7", "utf-16", "x-odd", "\xe9", ""])
def test_a_form_in_an_odd_charset_is_400(client: TestClient, charset: str) -> None:
    kind = f"multipart/form-data; boundary=B; charset={charset}".encode("latin-1")
    answer = client.post(
        "/v1/jobs",
        headers=[(b"authorization", f"Bearer {API}".encode()), (b"content-type", kind)],
        content=FORM,
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "kind", ["Multipart/Form-Data; boundary=B", 'MULTIPART/FORM-DATA; Charset="UTF-8"; Boundary=B']
)
def test_capitals_in_a_content_type_change_nothing(client: TestClient, kind: str) -> None:
    answer = client.post("/v1/jobs", headers={**bearer(API), "Content-Type": kind}, content=FORM)
    assert (answer.status_code, answer.json()["message"]) == (422, "The form has no file 'photo'.")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/v1/jobs", "GET, POST"),
        ("PUT", "/v1/jobs/x", "DELETE, GET"),
        ("GET", "/v1/jobs/x/retry", "POST"),
        ("GET", "/events/storage/s3", "POST"),
        ("DELETE", "/v1/webhooks", "GET, POST"),
        ("POST", "/healthz", "GET"),
        ("PUT", "/", "GET"),
        ("POST", "/static/app.js", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    token = EVENTS if path.startswith("/events") else API
    answer = client.request(method, path, headers=bearer(token))
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["code"] == "method_not_allowed"


def test_a_wrong_token_is_told(client: TestClient) -> None:
    for answer in (client.get("/", params={"token": "no"}), client.post("/session", data={"token": "no"})):
        assert answer.status_code == 401
        assert "not the right one" in answer.text
        assert COOKIE not in client.cookies


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/jobs", "/static/app.js", "/nowhere"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_the_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    assert "://" not in client.get("/").text
    for name in (
        "index.html",
        "app.js",
        "api.js",
        "words.js",
        "viewer.js",
        "base.css",
        "scene.css",
        "panel.css",
    ):
        assert "https://" not in client.get(f"/static/{name}").text
    assert client.get("/static/vendor/model-viewer.min.js").status_code == 200
    assert "Apache License" in client.get("/static/vendor/LICENSES.txt").text


def test_errors_are_problems(client: TestClient) -> None:
    missing = client.get("/nowhere")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert set(missing.json()) == {"code", "message", "value", "limit"}
    wrong = client.get("/v1/jobs", params={"limit": 0}, headers=bearer(API))
    assert (wrong.status_code, wrong.json()["code"]) == (422, "bad_request")
    assert "limit" in wrong.json()["message"]
    no_form = client.post("/v1/jobs", headers=bearer(API), content=b"x")
    assert no_form.status_code == 415


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "https://",
        "https://user:pass@example.org/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://10.1.2.3/hook",
        "http://localhost/",
        "http://169.254.169.254/",
        "https://x:y/",
    ],
)
def test_webhook_urls_that_can_never_work_are_refused(client: TestClient, url: str) -> None:
    answer = client.post("/v1/webhooks", json={"url": url}, headers=bearer(API))
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_request")


@pytest.mark.parametrize("secret", ["", "secret", "whsec_", "whsec_AAAA", "whsec_!!!!"])
def test_weak_webhook_secrets_are_refused(client: TestClient, secret: str) -> None:
    body = {"url": "https://example.org/", "secret": secret}
    assert client.post("/v1/webhooks", json=body, headers=bearer(API)).status_code == 422


def test_the_openapi_document_tells_errors_as_they_are_answered(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    problem = {"$ref": "#/components/schemas/Problem"}
    for path, operations in document["paths"].items():
        if path in ("/healthz", "/readyz"):
            continue
        for operation in operations.values():
            answers = operation["responses"]
            for status in {"401", "422", "503", "default"} | {s for s in answers if s[0] in "45"}:
                assert answers[status]["content"]["application/json"]["schema"] == problem, (path, status)
            assert "Retry-After" in answers["503"]["headers"]
    # One that the form's reader answers.
    answer = client.post("/v1/jobs", json={}, headers=bearer(API))
    assert str(answer.status_code) in document["paths"]["/v1/jobs"]["post"]["responses"]


def test_the_openapi_document_tells_every_option_and_path(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    form = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"photo", *OPTION_NAMES}
    for path in (
        "/v1/jobs/{job_id}/events",
        "/v1/jobs/{job_id}/files/{name}",
        "/events/storage/{kind}",
        "/readyz",
    ):
        for operation in document["paths"][path].values():
            assert operation["description"]
