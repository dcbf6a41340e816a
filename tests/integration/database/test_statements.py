"""The statements of db/sql: PostgreSQL plans each on the migrated schema as its first lines say."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from db.statements import FOLDER, load_statement
from face3d.settings import Settings
from tests.integration.conftest import empty_database

#: A longer one in Python's text is a file's matter.
LONGEST = 8

_BIND = re.compile(r"(?<!:):(\w+)")


@dataclass(frozen=True)
class Header:
    """What the first lines of a statement promise."""

    purpose: str
    #: Name to PostgreSQL's type.
    parameters: dict[str, str]
    indexes: frozenset[str]


def read_header(name: str) -> Header:
    lines = (FOLDER / f"{name}.sql").read_text().splitlines()
    comment = " ".join(line.removeprefix("--").strip() for line in lines if line.startswith("--"))
    told = re.fullmatch(r"(.+) Parameters: (.+) Indexes: (.+)", comment)
    assert told is not None, f"{name}: purpose, parameters and indexes"
    purpose, parameters, indexes = told.groups()
    pairs = (one.split() for one in parameters.split(","))
    return Header(purpose, dict(pairs), frozenset(indexes.split(", ")))


#: Two thousand jobs that ended and a hundred that wait, so that plans are those of a database in use.
FILL = (
    """
    INSERT INTO jobs (id, bucket, key, etag, options_digest, options, tier, source, size, state, finished_at,
                      asset_prefix, quality)
    SELECT gen_random_uuid(), 'b', 'k' || n, 'e', 'd', '{"gpu-type": "any"}', 'batch', 'event', 1,
           CASE WHEN n > 100 THEN 'ready' ELSE 'accepted' END, CASE WHEN n > 100 THEN now() END,
           CASE WHEN n > 100 THEN 'p/' END, CASE WHEN n > 100 THEN 'good' END
      FROM generate_series(1, 2100) n
    """,
    """
    INSERT INTO stages (job_id, name, ordinal, state, attempt, prefix, gpu_type, priority_class)
    SELECT j.id, s.name, s.number - 1,
           CASE WHEN j.state = 'ready' THEN 'done' WHEN s.number = 1 THEN 'dispatched' ELSE 'waiting' END,
           CASE WHEN j.state = 'ready' THEN 1 ELSE 0 END, CASE WHEN j.state = 'ready' THEN 'p/' END,
           'cpu', 'batch'
      FROM jobs j, unnest(ARRAY['preprocess', 'geometry', 'texture', 'packaging'])
           WITH ORDINALITY AS s (name, number)
    """,
    """
    INSERT INTO attempts (job_id, stage, number, lease, worker, gpu_type, device, engine, outcome,
                          finished_at)
    SELECT job_id, name, 1, gen_random_uuid(), 'w', 'cpu', 'cpu', 'anny', 'done', now() FROM stages
     WHERE state = 'done'
    """,
    "INSERT INTO outbox (job_id, dispatch) SELECT id, 1 FROM jobs WHERE state = 'accepted'",
    "INSERT INTO erased_photos (digest, job_id) SELECT id::text, id FROM jobs",
    """
    INSERT INTO webhook_endpoints (id, url, secret)
    SELECT gen_random_uuid(), 'https://example.com/' || n, '' FROM generate_series(1, 200) n
    """,
    """
    INSERT INTO deliveries (id, endpoint_id, job_id, run, event_type, payload, state, due_at, claimed_until)
    SELECT 'msg_' || n, e.id, j.id, 1, 'asset.ready', '{}',
           CASE WHEN n % 20 = 0 THEN 'pending' ELSE 'delivered' END,
           CASE WHEN n % 20 = 0 THEN now() END, CASE WHEN n % 40 = 0 THEN now() END
      FROM (SELECT id, row_number() OVER () AS n FROM jobs WHERE state = 'ready') j
      JOIN (SELECT id, row_number() OVER () AS m FROM webhook_endpoints) e ON m = 1 + j.n % 200
    """,
    "INSERT INTO delivery_tries (delivery_id, number) SELECT id, 1 FROM deliveries",
    "ANALYZE",
)


@pytest.fixture(scope="module")
def filled(servers: Settings) -> Iterator[Engine]:
    """The database with those rows; to plan a statement locks tables in an order of its own."""
    empty_database(servers)
    engine = create_engine(servers.database_url.get_secret_value())
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in FILL:
            connection.execute(text(statement))
    yield engine
    engine.dispose()
    empty_database(servers)


NAMES = sorted(path.stem for path in FOLDER.glob("*.sql"))


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_is_what_its_header_says(filled: Engine, name: str) -> None:
    header = read_header(name)
    body = load_statement(name).text
    assert set(_BIND.findall(body.replace("::", ""))) == set(header.parameters)
    numbers = {key: f"${number}" for number, key in enumerate(header.parameters, start=1)}
    numbered = _BIND.sub(lambda found: numbers[found.group(1)], body)
    with filled.begin() as connection:
        # As a DBA would, with the types that the header names; a scan of a small table tells nothing.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        cursor = connection.connection.cursor()
        cursor.execute(f"PREPARE looked_at ({', '.join(header.parameters.values())}) AS {numbered}")
        cursor.execute(f"EXPLAIN EXECUTE looked_at ({', '.join(['NULL'] * len(numbers))})")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("DEALLOCATE looked_at")
        known = set(connection.execute(text("SELECT indexname FROM pg_indexes")).scalars())
    used = set(re.findall(r"\b(?:ix|pk|uq)_\w+", plan))
    assert used, plan
    assert used <= header.indexes <= known, plan


def test_long_statements_lie_in_files() -> None:
    long = []
    for path in sorted(FOLDER.parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "text" and node.args:
                argument = node.args[0]
                if (argument.end_lineno or 0) - argument.lineno >= LONGEST:
                    long.append(f"{path.relative_to(FOLDER.parent.parent)}:{argument.lineno}")
    assert not long


def test_every_file_is_used() -> None:
    code = "\n".join(path.read_text() for path in FOLDER.parent.glob("*.py"))
    assert {name for name in NAMES if f'load_statement("{name}")' not in code} == set()


def test_an_installed_package_holds_them() -> None:
    import tomllib

    project = tomllib.loads((Path(FOLDER).parent.parent / "pyproject.toml").read_text())
    assert "sql/*.sql" in project["tool"]["setuptools"]["package-data"]["db"]
