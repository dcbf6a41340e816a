"""PostgreSQL 18: initdb, the server on TCP of the loopback interface, the application's database."""

import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from compose.local.accounts import Account, make_folder, write_private
from compose.local.binaries import postgres_programs
from compose.local.layout import DATABASE, DATABASE_USER, Layout
from compose.local.service import Service, Step, scrubbed_environment
from compose.local.vigil import Work
from compose.local.writes import START_SECONDS, find_database_fault
from face3d.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg


def postgres_items(layout: Layout) -> tuple[Service | Step, ...]:
    """Return what runs PostgreSQL: step `initdb`, service `postgres`, step `database`."""
    home = make_folder(layout.state_dir / "postgres", layout.account)
    data = home / "data"
    programs = postgres_programs(layout.account)
    port = layout.ports["postgres"]
    password = layout.credentials["database_password"]
    # The application's own database is made later.
    url = f"postgresql://{DATABASE_USER}:{password}@127.0.0.1:{port}/postgres"

    service = Service(
        name="postgres",
        # No unix socket: its path is limited to 107 characters, and everything of ours speaks TCP.
        argv=(
            *(str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)),
            *("-c", "unix_socket_directories=", "-c", "shared_buffers=64MB", "-c", "max_connections=200"),
        ),
        env=scrubbed_environment(home),
        cwd=home,
        log=layout.logs / "postgres.log",
        ready=lambda: find_database_fault(url, START_SECONDS) is None,
        work=Work(find_fault=lambda: find_database_fault(url), folder=data),
        after=("initdb",),
        account=layout.account,
        stop_signal=signal.SIGINT,
    )
    return (
        Step(name="initdb", run=lambda: _initialise(programs, data, password, layout.account)),
        service,
        Step(name="database", run=lambda: _make_database(port, password), after=("postgres",)),
    )


def _initialise(programs: Path, data: Path, password: str, account: Account | None) -> None:
    """Make the cluster; a half-made one (initdb was killed) is made anew."""
    complete = data.parent / "initialised"
    if complete.exists():
        # Only our own orphaned server could hold it, and the stack has stopped those.
        (data / "postmaster.pid").unlink(missing_ok=True)
        return
    shutil.rmtree(data, ignore_errors=True)
    make_folder(data, account)
    password_file = data.parent / "password"
    write_private(password_file, password + "\n", account)
    try:
        result = subprocess.run(
            [
                *(programs / "initdb", "-D", data, "-U", DATABASE_USER, f"--pwfile={password_file}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            env=scrubbed_environment(data.parent),
            cwd=data.parent,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
    finally:
        password_file.unlink()
    if result.returncode != 0:
        raise ConfigurationError(f"initdb failed: {result.stderr.strip()[-500:]}")
    complete.touch()


def _make_database(port: int, password: str) -> None:
    with _connect(port, password, "postgres") as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
        if known is None:
            connection.execute(f'CREATE DATABASE "{DATABASE}"'.encode())


def _connect(port: int, password: str, database: str) -> "psycopg.Connection[tuple[object, ...]]":
    import psycopg

    return psycopg.connect(
        host="127.0.0.1",
        port=port,
        user=DATABASE_USER,
        password=password,
        dbname=database,
        connect_timeout=2,
        autocommit=True,
    )
