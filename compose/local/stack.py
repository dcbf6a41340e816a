"""The stack as one object: start, settings, stop."""

import json
import os
import secrets
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil

from compose.local import lock
from compose.local.accounts import write_private
from compose.local.envfile import quote
from compose.local.layout import Layout, make_state_dir, open_layout
from compose.local.orphans import ProcessMark, RunRecord, find_processes, load_record, stop_orphans
from compose.local.postgres import postgres_items
from compose.local.programs import program_services
from compose.local.seaweedfs import seaweedfs_items
from compose.local.service import Service, Step
from compose.local.supervisor import Supervisor
from compose.local.valkey import valkey_items
from face3d.extras import require_extra
from face3d.settings import Settings, default_state_dir

SERVERS = frozenset({"postgres", "valkey", "seaweedfs"})
PROGRAMS = frozenset({"web", "relay", "delivery", "workers", "flower"})
ALL = SERVERS | PROGRAMS


def temporary_state_dir() -> Path:
    """Return a new, short-lived state folder that the servers' account can enter also when root makes it."""
    folder = Path(tempfile.mkdtemp(prefix="face3d-"))
    if os.geteuid() == 0:
        folder.chmod(0o755)
    return folder


class Stack:
    """Servers, migrations, buckets and our own processes, on one state folder; a context manager.

    Args:
        state_dir: where data, logs, ports and credentials live.
        services: which of ALL run; our own processes need all of SERVERS.
        overrides: settings (`name` to text) that win over the stack's own, e.g. {"lease_seconds": "2"}.
        ports: ports to try first, by name (see compose.local.ports).
        report: told one line at each change.
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        services: Collection[str] = ALL,
        overrides: Mapping[str, str] | None = None,
        ports: dict[str, int] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        unknown = set(services) - ALL
        if unknown:
            raise ValueError(f"no service is called {', '.join(sorted(unknown))}")
        self._folder = state_dir or default_state_dir()
        self._services = set(services) | (SERVERS if set(services) & PROGRAMS else set())
        self._overrides = dict(overrides or {})
        self._wanted_ports = ports
        self._report = report or (lambda _line: None)
        self._lock: IO[str] | None = None
        self._layout: Layout | None = None
        self._settings: Settings | None = None
        self._supervisor: Supervisor | None = None

    @property
    def layout(self) -> Layout:
        """Return folders, ports and credentials (after `start`)."""
        if self._layout is None:
            raise RuntimeError("the stack has not been started")
        return self._layout

    @property
    def settings(self) -> Settings:
        """Return settings that name the running servers (after `start`)."""
        if self._settings is None:
            raise RuntimeError("the stack has not been started")
        return self._settings

    @property
    def supervisor(self) -> Supervisor:
        """Return the supervisor of the services (after `start`)."""
        if self._supervisor is None:
            raise RuntimeError("the stack has not been started")
        return self._supervisor

    def start(self) -> Self:
        """Start everything; returns when all is ready.

        Raises:
            StackRunning: another supervisor runs on this folder.
            StackFailed: something did not start; its log's end is in the message.
            ConfigurationError: this machine does not allow it.
        """
        require_extra("local")
        folder = make_state_dir(self._folder)
        self._lock = lock.acquire(folder)
        try:
            left = stop_orphans(folder)
            if left:
                self._report(f"stopped {left} processes of an earlier run")
            self._layout = open_layout(folder, self._wanted_ports)
            lock.describe(self._lock, self._layout.web_url)
            values = self._values()
            lines = (f"FACE3D_{name.upper()}={quote(value)}\n" for name, value in values.items())
            write_private(self._layout.env_file, "".join(lines))
            self._settings = _settings_from(values)
            record = RunRecord(state_dir=folder, run_id=secrets.token_hex(8))
            record.processes["supervisor"] = ProcessMark.of(os.getpid())
            self._supervisor = Supervisor(self._items(), record, self._report)
            self._supervisor.start()
        except BaseException:
            self._release()
            raise
        return self

    def stop(self) -> None:
        """Stop everything in order; idempotent."""
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        self._release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def processes(self) -> list[psutil.Process]:
        """Return all living processes of this stack but this one."""
        folder = self.layout.state_dir
        return find_processes(folder, load_record(folder))

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _items(self) -> list[Service | Step]:
        layout, settings, wanted = self.layout, self.settings, self._services
        items: list[Service | Step] = []
        if "postgres" in wanted:
            items += postgres_items(layout)
            items.append(Step(name="migrations", run=lambda: _migrate(settings), after=("database",)))
        if "valkey" in wanted:
            items += valkey_items(layout)
        if "seaweedfs" in wanted:
            items += seaweedfs_items(layout, settings)
        if wanted & PROGRAMS:
            items += [service for service in program_services(layout) if service.name in wanted]
        return items

    def _values(self) -> dict[str, str]:
        """Return what stack.env says."""
        layout = self.layout
        return {
            "database_url": layout.database_url,
            "broker_url": layout.broker_url,
            "s3_endpoint": layout.s3_url,
            "s3_access_key": layout.credentials["s3_access_key"],
            "s3_secret_key": layout.credentials["s3_secret_key"],
            "web_host": "127.0.0.1",
            "web_port": str(layout.ports["web"]),
            "public_url": layout.web_url,
            "api_token": layout.credentials["api_token"],
            "event_token": layout.credentials["event_token"],
            "secret_key": layout.credentials["secret_key"],
            "webhook_allow_private": "true",
            "state_dir": str(layout.state_dir),
            # For people and `face3d status`; no setting of the programs.
            "flower_url": layout.flower_url,
            "flower_user": "face3d",
            "flower_password": layout.credentials["flower_password"],
            **self._overrides,
        }


def _settings_from(values: Mapping[str, str]) -> Settings:
    """Return settings in which these values win over the caller's environment."""
    known = {name: text for name, text in values.items() if name in Settings.model_fields}
    # Lists are JSON in an environment file; init arguments are not decoded.
    decoded: dict[str, Any] = {n: json.loads(t) if t.startswith("[") else t for n, t in known.items()}
    return Settings(**decoded)


def _migrate(settings: Settings) -> None:
    from db.migrate import upgrade

    upgrade(settings)
