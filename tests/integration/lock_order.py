"""Watches which rows each transaction locks, and in which order.

After each statement PostgreSQL itself is asked, over the same connection: which tables the transaction holds
row locks in (foreign keys' checks included) and which jobs' rows it has. So no list of transactions has to be
kept: a new one that breaks the order of db/locks.py fails the first test that runs it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, event

from db.locks import LOCK_ORDER

#: Tables whose rows hang on a job: its own row is locked before two of these.
UNDER_A_JOB = frozenset(LOCK_ORDER[LOCK_ORDER.index("stages") : LOCK_ORDER.index("artifacts") + 1])

_TABLES = """
    SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
     WHERE l.pid = pg_backend_pid() AND l.granted AND c.relkind = 'r'
       AND l.mode IN ('RowShareLock', 'RowExclusiveLock') AND c.relnamespace = 'public'::regnamespace
"""

#: A row that this transaction locked or wrote names it.
_JOBS = """
    SELECT DISTINCT id FROM jobs
     WHERE pg_current_xact_id_if_assigned() IS NOT NULL
       AND (xmax::text::bigint = pg_current_xact_id_if_assigned()::text::bigint % 4294967296
         OR xmin::text::bigint = pg_current_xact_id_if_assigned()::text::bigint % 4294967296)
"""


@dataclass
class Held:
    """What one transaction has locked so far."""

    #: Tables by statement, in the order of locking.
    steps: list[set[str]] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    statements: list[str] = field(default_factory=list)

    @property
    def tables(self) -> set[str]:
        """All tables with a locked row."""
        return set().union(*self.steps) if self.steps else set()


class LockRecorder:
    """Follows the transactions of engines; `faults` says in words what broke the order."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.transactions = 0
        self._lock = threading.Lock()

    @contextmanager
    def watch(self, engine: Engine) -> Iterator["LockRecorder"]:
        """Watch an engine."""
        listeners = (
            ("after_cursor_execute", self._after),
            ("commit", self._end),
            ("rollback", self._end),
        )
        for name, listener in listeners:
            event.listen(engine, name, listener)
        try:
            yield self
        finally:
            for name, listener in listeners:
                event.remove(engine, name, listener)

    def _end(self, connection: Connection) -> None:
        if not connection.invalidated and connection.info.pop("held", None) is not None:
            with self._lock:
                self.transactions += 1

    def _after(
        self, connection: Connection, _cursor: Any, statement: str, _p: Any, _context: Any, _many: bool
    ) -> None:
        raw = connection.connection.cursor()
        try:
            raw.execute(_TABLES)
            tables = {row[0] for row in raw.fetchall()}
            if not tables:
                return
            raw.execute(_JOBS)
            jobs = {str(row[0]) for row in raw.fetchall()}
        finally:
            raw.close()
        held: Held = connection.info.setdefault("held", Held())
        new = tables - held.tables
        held.statements.append(" ".join(statement.split())[:120])
        for fault in self._judge(held, new, jobs, skips="SKIP LOCKED" in statement.upper()):
            with self._lock:
                self.faults.append(f"{fault}: {' / '.join(held.statements)}")
        held.steps.append(new)
        held.jobs |= jobs

    def _judge(self, held: Held, new: set[str], jobs: set[str], *, skips: bool) -> Iterator[str]:
        before, after = held.tables, held.tables | new
        unknown = after - set(LOCK_ORDER)
        if unknown and len(after) > 1:
            yield f"{sorted(unknown)} have no place in LOCK_ORDER of db/locks.py"
        rank = {name: place for place, name in enumerate(LOCK_ORDER)}
        for table in new & set(LOCK_ORDER):
            late = [name for name in before & set(LOCK_ORDER) if rank[name] > rank[table]]
            if late and not skips:
                yield f"{table} is locked after {sorted(late)}"
        if "jobs" not in after and len(after & UNDER_A_JOB) > 1:
            yield f"{sorted(after)} are locked without their job"
        if len(held.jobs | jobs) > 1 and not skips:
            yield "more than one job is locked"
