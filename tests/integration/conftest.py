"""Real servers on loopback for the integration tests, started once a session in a temporary state folder."""

import shutil
from collections.abc import Iterator

import boto3
import pytest
import redis
from botocore.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from compose.local import SERVERS, Stack, temporary_state_dir
from compose.local.orphans import RunRecord, stop_orphans
from compose.local.rabbitmq import find_program, rabbitmq_service
from compose.local.supervisor import Supervisor
from db.session import make_session_factory
from face3d.settings import Settings
from tests.integration.lock_order import LockRecorder
from tests.ports import free_ports, stack_ports


@pytest.fixture(scope="session")
def server_stack() -> Iterator[Stack]:
    """PostgreSQL (migrated), Valkey and SeaweedFS (three buckets), under the supervisor."""
    folder = temporary_state_dir()
    try:
        with Stack(folder, services=SERVERS, ports=stack_ports()) as stack:
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def servers(server_stack: Stack) -> Settings:
    """Settings that name the running servers; SeaweedFS POSTs its events to port `servers.web_port`."""
    return server_stack.settings


@pytest.fixture
def clean_servers(servers: Settings) -> Settings:
    """The servers with no row, no message and no object in them."""
    empty_database(servers)
    empty_broker(servers)
    empty_buckets(servers)
    return servers


def empty_database(settings: Settings) -> None:
    """Delete all rows of all tables but Alembic's; numbers begin at 1 again.

    With rows in few tables, deleting them takes a hundredth of the time of TRUNCATE, which makes files anew.
    """
    engine = create_engine(settings.database_url.get_secret_value())
    try:
        with engine.begin() as connection:
            # No trigger and no foreign key has a say in the order; nothing waits for the disk.
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text("SET LOCAL synchronous_commit = off"))
            query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            for name in connection.scalars(text(query)).all():
                if name != "alembic_version":
                    connection.execute(text(f'DELETE FROM "{name}"'))
            numbers = "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"
            connection.execute(text(numbers))
    finally:
        engine.dispose()


def empty_broker(settings: Settings) -> None:
    """Delete all queues and messages of Valkey."""
    client = redis.Redis.from_url(settings.broker_url.get_secret_value())
    try:
        client.flushall()
    finally:
        client.close()


def empty_buckets(settings: Settings) -> None:
    """Delete all objects of the three buckets."""
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
        config=Config(s3={"addressing_style": "path"}),
    )
    try:
        for bucket in (settings.bucket_inbox, settings.bucket_work, settings.bucket_assets):
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                keys = [{"Key": item["Key"]} for item in page.get("Contents", ())]
                if keys:
                    client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    finally:
        client.close()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[str]:
    """The URL of a RabbitMQ on loopback; mark such tests `rabbitmq`."""
    program = find_program()
    if program is None:
        pytest.skip("rabbitmq-server is not installed")
    folder = temporary_state_dir()
    port, management, distribution, name_server = free_ports(4)
    service = rabbitmq_service(program, folder, (port, management, distribution, name_server))
    supervisor = Supervisor([service], RunRecord(state_dir=folder, run_id=folder.name))
    try:
        supervisor.start()
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        supervisor.stop()
        # Its name server, a daemon.
        stop_orphans(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sessions(clean_servers: Settings) -> Iterator[sessionmaker[Session]]:
    """Sessions of the emptied database; what locks rows in another order than db/locks.py fails the test."""
    factory = make_session_factory(clean_servers)
    recorder = LockRecorder()
    with recorder.watch(factory.kw["bind"]):
        yield factory
    factory.kw["bind"].dispose()
    assert not recorder.faults
