"""Endpoints, secrets and messages through the API and in the database's rows."""

import secrets
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from alembic import command
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import Session, sessionmaker
from typer.testing import CliRunner

from cli import deliveries as deliveries_command
from cli import webhook as webhook_command
from cli.main import app
from db import migrate, webhooks
from db.deliveries import Outcome
from face3d.sealing import SecretBox, SecretUnreadable
from face3d.settings import Settings
from tasks.deliver import open_send
from tests.integration.delivery_rows import (
    OK,
    REFUSED,
    add_messages,
    begin,
    claim,
    finish,
    pass_time,
    state_of,
)
from tests.web_client import TestClient
from web.app import create_app

URL = "https://example.com/hook"


@pytest.fixture
def settings(clean_servers: Settings) -> Settings:
    return clean_servers.model_copy(update={"secret_key": SecretStr("a key")})


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    headers = {"Authorization": f"Bearer {settings.api_token.get_secret_value()}"}
    with TestClient(create_app(settings), headers=headers) as opened:
        yield opened


def a_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()


def stored(sessions: sessionmaker[Session]) -> list[str]:
    with sessions() as session:
        row = session.execute(text("SELECT secret, previous_secrets FROM webhook_endpoints")).one()
    return [row[0], *(entry["secret"] for entry in row[1])]


def signing(sessions: sessionmaker[Session], settings: Settings) -> list[str]:
    """The secrets that would sign a message now."""
    add_messages(sessions, 1, secrets.token_hex(4))
    (copy,) = claim(sessions)
    outgoing = begin(sessions, copy)
    finish(sessions, outgoing, OK)
    assert outgoing is not None
    box = SecretBox.from_settings(settings)
    return [box.open(secret) for secret in outgoing.secrets]


def test_a_secret_is_shown_once_and_stored_sealed(
    client: TestClient, sessions: sessionmaker[Session], settings: Settings
) -> None:
    made = client.post("/v1/webhooks", json={"url": URL})
    assert made.status_code == 201
    secret = made.json()["secret"]
    again = client.post("/v1/webhooks", json={"url": URL})
    assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])
    assert again.json()["secret"] is None
    assert secret not in client.get("/v1/webhooks").text
    assert secret.removeprefix("whsec_") not in str(stored(sessions))
    assert signing(sessions, settings) == [secret]


def test_the_same_url_with_a_new_secret_rotates_and_both_sign_for_a_day(
    client: TestClient, sessions: sessionmaker[Session], settings: Settings
) -> None:
    old = client.post("/v1/webhooks", json={"url": URL}).json()["secret"]
    mine = a_secret()
    answer = client.post("/v1/webhooks", json={"url": URL, "secret": mine}).json()
    assert answer["secret"] == mine
    assert signing(sessions, settings) == [mine, old]
    client.post("/v1/webhooks", json={"url": URL, "secret": mine})
    assert signing(sessions, settings) == [mine, old], "the same one again is no rotation"
    pass_time(sessions, 12 * 3600)
    made = client.post(f"/v1/webhooks/{answer['id']}/rotate").json()["secret"]
    assert signing(sessions, settings) == [made, mine, old]
    pass_time(sessions, 13 * 3600)
    assert signing(sessions, settings) == [made, mine]
    pass_time(sessions, 12 * 3600)
    assert signing(sessions, settings) == [made]
    with sessions.begin() as session:
        webhooks.seal_secrets(session, SecretBox.from_settings(settings))
    assert len(stored(sessions)) == 1
    refused = client.post(f"/v1/webhooks/{answer['id']}/rotate", json={"secret": "weak"})
    assert refused.status_code == 422


def test_plain_secrets_get_sealed_and_sealed_ones_follow_the_key(
    sessions: sessionmaker[Session], settings: Settings
) -> None:
    with sessions.begin() as session:
        secret = webhooks.add_endpoint(session, URL).secret
    assert stored(sessions) == [secret], "without a key it lies there in plain text"
    for keys in (["first"], ["second", "first"], ["second"]):
        box = SecretBox(keys)
        with sessions.begin() as session:
            assert webhooks.seal_secrets(session, box) == (keys != ["second"])
        assert secret not in str(stored(sessions))
        assert [box.open(text) for text in stored(sessions)] == [secret]
    with sessions.begin() as session:
        assert webhooks.seal_secrets(session, SecretBox(["lost"])) == 0


def test_messages_are_listed_with_their_tries_filtered_and_sent_again(
    client: TestClient, sessions: sessionmaker[Session]
) -> None:
    endpoint = client.post("/v1/webhooks", json={"url": URL}).json()["id"]
    other = client.post("/v1/webhooks", json={"url": "https://example.org/"}).json()["id"]
    jobs = add_messages(sessions, 3)
    for copy in claim(sessions):
        outgoing = begin(sessions, copy)
        assert outgoing is not None
        outcome = OK if outgoing.endpoint_id == other else REFUSED
        finish(sessions, outgoing, outcome)
    with sessions.begin() as session:
        session.execute(text("UPDATE deliveries SET state = 'failed', due_at = NULL WHERE last_status = 500"))

    def listed(**query: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get("/v1/webhooks/deliveries", params=query).json()["deliveries"]
        return found

    assert len(listed()) == 6
    assert {one["endpoint_id"] for one in listed(endpoint=other)} == {other}
    assert {one["job_id"] for one in listed(job=jobs[0])} == {jobs[0]}
    assert listed(endpoint="nonsense") == []
    failed = listed(state="failed")
    assert len(failed) == 2
    (one_try,) = failed[0]["tries"]
    assert (one_try["number"], one_try["status"], one_try["error"]) == (1, 500, "HTTP 500")
    assert one_try["milliseconds"] == 10
    assert one_try["started_at"]

    seen, before = [], None
    while True:
        params = {"limit": 4} | ({"before": before} if before else {})
        page = client.get("/v1/webhooks/deliveries", params=params).json()
        seen += [one["id"] for one in page["deliveries"]]
        before = page["next"]
        if before is None:
            break
    assert len(seen) == len(set(seen)) == 6
    assert client.get("/v1/webhooks/deliveries", params={"before": "x"}).status_code == 422

    again = client.post(f"/v1/webhooks/deliveries/{failed[0]['id']}/redeliver")
    assert (again.status_code, again.json()["state"]) == (202, "pending")
    assert client.post("/v1/webhooks/deliveries/redeliver", params={"endpoint": endpoint}).json() == {
        "count": 1
    }
    due = {copy.delivery_id for copy in claim(sessions, places=3)}
    assert {one["id"] for one in failed} <= due
    assert client.post("/v1/webhooks/deliveries/msg_none/redeliver").status_code == 404
    client.post(f"/v1/webhooks/{endpoint}/disable")
    assert client.post(f"/v1/webhooks/deliveries/{failed[0]['id']}/redeliver").status_code == 409
    assert client.post(f"/v1/webhooks/{endpoint}/test").status_code == 409
    assert client.post(f"/v1/webhooks/{endpoint}/enable").json()["enabled"] is True


def test_what_is_no_id_stands_for_no_message_and_not_for_test_messages(client: TestClient) -> None:
    endpoint = client.post("/v1/webhooks", json={"url": URL}).json()["id"]
    client.post(f"/v1/webhooks/{endpoint}/test")
    # What waits fails.
    client.post(f"/v1/webhooks/{endpoint}/disable")
    client.post(f"/v1/webhooks/{endpoint}/enable")
    for name in ("job", "endpoint"):
        for odd in ("a-typing-error", ""):
            query = {name: odd}
            assert client.get("/v1/webhooks/deliveries", params=query).json()["deliveries"] == []
            assert client.post("/v1/webhooks/deliveries/redeliver", params=query).json() == {"count": 0}
    assert client.post("/v1/webhooks/deliveries/redeliver").json() == {"count": 1}


def test_ports_and_addresses_are_refused_when_a_url_is_added(settings: Settings) -> None:
    strict = settings.model_copy(update={"webhook_allow_private": False})
    headers = {"Authorization": f"Bearer {settings.api_token.get_secret_value()}"}
    with TestClient(create_app(strict), headers=headers) as client:
        answer = client.post("/v1/webhooks", json={"url": "https://example.com:8443/"})
        assert (answer.status_code, answer.json()["value"], answer.json()["limit"]) == (422, 8443, "80, 443")
        for host in ("[64:ff9b::808:808]", "100.64.0.1", "[2002:808:808::1]"):
            assert client.post("/v1/webhooks", json={"url": f"http://{host}/"}).status_code == 422
        assert client.post("/v1/webhooks", json={"url": "https://example.com/"}).status_code == 201


@pytest.fixture
def old_database(servers: Settings) -> Iterator[Settings]:
    """A database of its own with the schema before webhooks had claims."""
    url = make_url(servers.database_url.get_secret_value())
    admin = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE DATABASE upgraded")
        try:
            text_url = url.set(database="upgraded").render_as_string(hide_password=False)
            update = {"database_url": SecretStr(text_url), "secret_key": SecretStr("k" * 24)}
            made = servers.model_copy(update=update)
            command.upgrade(migrate.alembic_config(made), "0003")
            yield made
        finally:
            connection.execute("DROP DATABASE upgraded WITH (FORCE)")


def test_an_upgraded_installation_keeps_what_waits_and_can_go_back(old_database: Settings) -> None:
    engine = create_engine(old_database.database_url.get_secret_value())
    secret = a_secret()
    try:
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO webhook_endpoints (id, url, secret)"
                    " VALUES (gen_random_uuid(), :url, :secret)"
                ),
                {"url": URL, "secret": secret},
            )
            connection.execute(
                text(
                    "INSERT INTO deliveries (id, endpoint_id, run, event_type, payload, attempts)"
                    " SELECT 'msg_old', id, 1, 'asset.ready', '{\"type\": \"asset.ready\"}', 3"
                    " FROM webhook_endpoints"
                )
            )
        command.upgrade(migrate.alembic_config(old_database), "0004")
        sessions = sessionmaker(engine, expire_on_commit=False)
        box = SecretBox.from_settings(old_database)
        with sessions.begin() as session:
            assert webhooks.seal_secrets(session, box) == 1
        (copy,) = claim(sessions)
        outgoing = begin(sessions, copy)
        assert outgoing is not None
        assert (outgoing.id, outgoing.attempts) == ("msg_old", 4)
        assert [box.open(one) for one in outgoing.secrets] == [secret]
        finish(sessions, outgoing, OK)
        keyless = old_database.model_copy(update={"secret_key": SecretStr("")})
        with pytest.raises(SecretUnreadable):
            command.downgrade(migrate.alembic_config(keyless), "0003")
        command.downgrade(migrate.alembic_config(old_database), "0003")
        with engine.connect() as connection:
            assert connection.execute(text("SELECT secret FROM webhook_endpoints")).scalar() == secret
    finally:
        engine.dispose()


def test_a_key_that_does_not_open_the_secret_uses_no_try(
    sessions: sessionmaker[Session], settings: Settings
) -> None:
    with sessions.begin() as session:
        webhooks.add_endpoint(session, URL, box=SecretBox(["lost"]))
    add_messages(sessions, 1)
    (copy,) = claim(sessions)
    with pytest.raises(SecretUnreadable):
        open_send(sessions, settings, copy)
    assert state_of(sessions, copy.delivery_id)[:2] == ("pending", 0)
    with sessions.begin() as session:
        secret = webhooks.rotate_secret(session, URL, box=SecretBox.from_settings(settings)).secret
    opened = open_send(sessions, settings, copy)
    assert opened is not None
    assert opened[1] == [secret]


class ApiInProcess:
    """What `open_api` yields, with the server in this process."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def __enter__(self) -> "ApiInProcess":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        answer = self._client.request(method, path, **arguments)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


def test_the_command_lists_sends_again_rotates_and_enables(
    client: TestClient, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (webhook_command, deliveries_command):
        monkeypatch.setattr(module, "open_api", lambda: ApiInProcess(client))

    def face3d(*arguments: str) -> str:
        ended = CliRunner().invoke(app, ["webhook", *arguments])
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    secret = face3d("add", URL).split("secret: ")[1].strip()
    assert secret.startswith("whsec_")
    assert "keeps its secret" in face3d("add", URL)
    assert face3d("rotate", URL).split("secret: ")[1].strip() != secret
    (job_id,) = add_messages(sessions, 1)
    (copy,) = claim(sessions)
    gone = Outcome(status=410, error="HTTP 410", seconds=0.25, answer="no more of this")
    finish(sessions, begin(sessions, copy), gone)
    assert "(disabled: gone)" in face3d("list")
    listed = face3d("deliveries", "--failed", "--endpoint", URL, "--job", job_id)
    for told in (copy.delivery_id, "failed", job_id, "HTTP 410 after 250 ms", "no more of this"):
        assert told in listed
    # One that failed waits, for its endpoint is disabled.
    assert "endpoints that are enabled" in face3d("redeliver", "--failed")
    face3d("enable", URL)
    assert "1 on the way again" in face3d("redeliver", "--failed")
    assert copy.delivery_id not in face3d("deliveries", "--failed")
    assert "1 on the way again" in face3d("redeliver", copy.delivery_id)
    assert CliRunner().invoke(app, ["webhook", "redeliver"]).exit_code == 2
