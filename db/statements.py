"""SQL that is long enough to be read by itself: the files of db/sql, which psql can EXPLAIN as they are.

The first lines of each say what it does, which parameters it takes and which indexes it uses;
tests/integration/test_statements.py holds them to it.
"""

from functools import cache
from pathlib import Path

from sqlalchemy import TextClause, text

FOLDER = Path(__file__).resolve().parent / "sql"


@cache
def load_statement(name: str) -> TextClause:
    """Return the statement of `db/sql/<name>.sql`, without its comments."""
    lines = (FOLDER / f"{name}.sql").read_text().splitlines()
    return text("\n".join(line for line in lines if not line.lstrip().startswith("--")))
