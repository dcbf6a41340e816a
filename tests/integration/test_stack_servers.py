"""The three servers of the local stack, as the rest of the project meets them."""

from urllib.parse import urlsplit

import boto3
import psycopg
import pytest
import redis

from compose.local import Stack
from compose.local.lock import StackRunning
from face3d.settings import Settings


def test_database_speaks_tcp_with_a_password(servers: Settings) -> None:
    url = servers.database_url.get_secret_value().replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW server_version_num").fetchone()
    assert row is not None
    assert row[0].startswith("18")
    password = url.split(":")[2].split("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(password, "wrong"))


def test_broker_refuses_a_client_without_password(servers: Settings) -> None:
    with redis.Redis.from_url(servers.broker_url.get_secret_value()) as client:
        assert client.ping()
    port = urlsplit(servers.broker_url.get_secret_value()).port
    with redis.Redis(port=port or 0) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_a_second_stack_on_the_same_folder_says_where_the_first_is(server_stack: Stack) -> None:
    with pytest.raises(StackRunning, match=str(server_stack.settings.web_port)):
        Stack(server_stack.layout.state_dir).start()


def test_cleaning_leaves_empty_buckets(servers: Settings, request: pytest.FixtureRequest) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3_endpoint,
        region_name=servers.s3_region,
        aws_access_key_id=servers.s3_access_key.get_secret_value(),
        aws_secret_access_key=servers.s3_secret_key.get_secret_value(),
    )
    client.put_object(Bucket=servers.bucket_inbox, Key="a b/ü+.jpg", Body=b"x")
    request.getfixturevalue("clean_servers")
    assert client.list_objects_v2(Bucket=servers.bucket_inbox)["KeyCount"] == 0
    client.close()
