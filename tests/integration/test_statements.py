"""The statements of db/sql: PostgreSQL plans each on the migrated schema as its first lines say."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db.statements import FOLDER, load_statement

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
    return Header(purpose, {key: kind for key, kind in pairs}, frozenset(indexes.split(", ")))


NAMES = sorted(path.stem for path in FOLDER.glob("*.sql"))


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_is_what_its_header_says(sessions: sessionmaker[Session], name: str) -> None:
    header = read_header(name)
    body = load_statement(name).text
    assert set(_BIND.findall(body.replace("::", ""))) == set(header.parameters)
    numbers = {key: f"${number}" for number, key in enumerate(header.parameters, start=1)}
    numbered = _BIND.sub(lambda found: numbers[found.group(1)], body)
    with sessions.begin() as session:
        # As a DBA would, with the types that the header names; of empty tables every plan is a scan.
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        cursor = session.connection().connection.cursor()
        cursor.execute(f"PREPARE looked_at ({', '.join(header.parameters.values())}) AS {numbered}")
        cursor.execute(f"EXPLAIN EXECUTE looked_at ({', '.join(['NULL'] * len(numbers))})")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("DEALLOCATE looked_at")
    used = set(re.findall(r"\b(?:ix|pk|uq)_\w+", plan))
    assert used == header.indexes, plan


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
