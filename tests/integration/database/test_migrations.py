"""Migrations of rows that older releases wrote."""

from collections.abc import Iterator

import psycopg
import pytest
from alembic import command
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.orm import sessionmaker

from db import migrate, outbox, queries, statistics
from face3d.queues import queue_name
from face3d.settings import Settings

#: Stage, state, its queue's name in 0008, and the name in 0009.
ROWS = [
    ("preprocess", "done", "preprocess.cpu.interactive", "preprocess.cpu.interactive"),
    ("geometry", "dispatched", "geometry.h100.interactive", "geometry.h100.interactive"),
    ("texture", "waiting", None, None),
    ("packaging", "waiting", "nobody knows", None),
]


@pytest.fixture
def old(servers: Settings) -> Iterator[Settings]:
    """Settings of a database of its own with the schema before queues were columns."""
    url = make_url(servers.database_url.get_secret_value())
    admin = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE DATABASE older")
        try:
            older = url.set(database="older").render_as_string(hide_password=False)
            made = servers.model_copy(update={"database_url": SecretStr(older)})
            command.upgrade(migrate.alembic_config(made), "0008")
            yield made
        finally:
            connection.execute("DROP DATABASE older WITH (FORCE)")


@pytest.fixture
def engine(old: Settings) -> Iterator[Engine]:
    made = create_engine(old.database_url.get_secret_value())
    yield made
    made.dispose()


def write_old_rows(engine: Engine) -> str:
    """Write a job of which the second stage was dispatched a minute ago; return its id."""
    with engine.begin() as connection:
        job_id = connection.execute(
            text(
                "INSERT INTO jobs (id, bucket, key, etag, options_digest, options, tier, source, size, state)"
                " VALUES (gen_random_uuid(), 'b', 'k', 'e', 'd', '{\"gpu-type\": \"any\"}', 'interactive',"
                "  'api', 1, 'running') RETURNING id"
            )
        ).scalar_one()
        for ordinal, (name, state, queue, _) in enumerate(ROWS):
            connection.execute(
                text(
                    "INSERT INTO stages (job_id, name, ordinal, state, attempt, prefix, queue, dispatched_at)"
                    " VALUES (:job, :name, :ordinal, :state, :done, CASE WHEN :done = 1 THEN 'p/' END,"
                    "  :queue, now() - interval '1 minute')"
                ),
                {
                    "job": job_id, "name": name, "ordinal": ordinal, "state": state, "queue": queue,
                    "done": int(state == "done"),
                },
            )  # fmt: skip
        connection.execute(
            text(
                "INSERT INTO attempts (job_id, stage, number, lease, worker, gpu_type, device, queue,"
                "  engine, outcome, finished_at) VALUES (:job, 'preprocess', 1, gen_random_uuid(), 'w@h',"
                "  'cpu', 'cpu', 'preprocess.cpu.interactive', 'anny', 'done', now())"
            ),
            {"job": job_id},
        )
    return str(job_id)


def test_what_was_on_its_way_in_0008_is_where_it_was(old: Settings, engine: Engine) -> None:
    job_id = write_old_rows(engine)
    migrate.upgrade(old)
    with sessionmaker(engine).begin() as session:
        job = queries.find(session, job_id)
        assert [stage.queue for stage in job.stages] == [queue for *_, queue in ROWS]
        assert job.stages[0].attempts[0].priority_class == "interactive"
        (overdue,) = outbox.find_overdue(session, older_than_seconds=15)
        assert overdue.queue is not None
        assert queue_name(overdue.queue) == "geometry.h100.interactive"
        assert statistics.read_statistics(session).queues == [("geometry.h100.interactive", "dispatched", 1)]


def test_a_dispatched_stage_whose_queue_nobody_can_read_is_sent_again(old: Settings, engine: Engine) -> None:
    job_id = write_old_rows(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE stages SET queue = 'geometry' WHERE name = 'geometry'"))
    migrate.upgrade(old)
    with sessionmaker(engine).begin() as session:
        (overdue,) = outbox.find_overdue(session, older_than_seconds=15)
        assert overdue.queue is None
        assert outbox.redispatch_lost(session, overdue)
    with sessionmaker(engine).begin() as session:
        (publication,) = outbox.claim_publications(session, limit=10, seconds=20)
    assert (publication.job_id, publication.stages[0].value) == (job_id, "geometry")


def test_the_schema_goes_back_with_its_queues(old: Settings, engine: Engine) -> None:
    write_old_rows(engine)
    migrate.upgrade(old)
    command.downgrade(migrate.alembic_config(old), "0008")
    with engine.connect() as connection:
        stages = connection.execute(text("SELECT queue FROM stages ORDER BY ordinal")).scalars().all()
        attempts = connection.execute(text("SELECT queue FROM attempts")).scalars().all()
    assert stages == [queue for *_, queue in ROWS]
    assert attempts == ["preprocess.cpu.interactive"]
