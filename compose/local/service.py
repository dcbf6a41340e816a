"""What the supervisor runs: services (processes that stay) and steps (functions that run once)."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compose.local.accounts import Account
from compose.local.vigil import Work

#: Marks every process of a stack, and all that they start: the state folder's path.
STACK_MARK = "FACE3D_STACK"
#: The same for one run of the supervisor.
RUN_MARK = "FACE3D_STACK_RUN"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A process that stays until the stack stops; it is started again when it dies."""

    name: str
    argv: tuple[str, ...]
    #: Its whole environment: nothing is inherited.
    env: Mapping[str, str]
    cwd: Path
    log: Path
    #: Asked again and again after the start, each call at most a second long.
    ready: Callable[[], bool]
    #: It is not ready before it listens here itself: what answers may be another program's.
    port: int | None = None
    #: Called before each start: what an earlier process left behind must not pass for readiness.
    forget: Callable[[], None] = lambda: None
    #: Names of services and steps that must be ready before this one starts.
    after: tuple[str, ...] = ()
    #: Whom it runs as; None: this user.
    account: Account | None = None
    stop_signal: int = signal.SIGTERM
    #: It is killed when it has not ended this long after the stop signal.
    stop_seconds: float = 10.0
    #: The stack gives up when it is not ready after this long.
    start_seconds: float = 60.0
    #: Looked after while it runs: it is started anew when it does no work for long. None: nobody asks.
    work: Work | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """A function that runs once, in a thread; what raises stops the start."""

    name: str
    run: Callable[[], None]
    after: tuple[str, ...] = field(default=())


def spawn(service: Service, marks: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a service in a session of its own, with its output appended to its log."""
    service.forget()
    account = service.account
    with service.log.open("ab") as log:
        return subprocess.Popen(
            service.argv,
            env={**service.env, **marks},
            cwd=service.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )


def scrubbed_environment(home: Path) -> dict[str, str]:
    """Return the environment of a server: nothing of the caller's but the search path and time zone."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
    return {"LANG": "C.UTF-8", "HOME": str(home), **kept}
