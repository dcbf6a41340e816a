"""Keeps the leases of this process alive from a thread of its own, and looks twice before one is taken."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from db import leases
from db.leases import Lease
from db.session import make_session_factory
from face3d.errors import LeaseLost
from face3d.outages import is_expected
from face3d.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class HeldLease:
    """A lease while its stage works; `check` before everything that others would see."""

    lease: Lease
    #: Monotonic time past which it is not renewed any more.
    renew_until: float
    lost: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise LeaseLost once another attempt owns the stage."""
        if self.lost.is_set():
            raise LeaseLost


class LeaseKeeper:
    """Renews every held lease each `lease_renew_seconds`, up to the stage's hard limit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._held: dict[str, HeldLease] = {}
        self._thread: threading.Thread | None = None

    def hold(self, lease: Lease) -> HeldLease:
        """Begin to renew a lease."""
        held = HeldLease(lease=lease, renew_until=time.monotonic() + self._settings.stage_limit_seconds)
        with self._lock:
            self._held[lease.token] = held
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)
                self._thread.start()
        return held

    def release(self, held: HeldLease) -> None:
        """Stop renewing a lease."""
        with self._lock:
            self._held.pop(held.lease.token, None)

    def _run(self) -> None:
        while True:
            time.sleep(self._settings.lease_renew_seconds)
            with self._lock:
                held = list(self._held.values())
                if not held:
                    self._thread = None
                    return
            for one in held:
                self._renew(one)

    def _renew(self, held: HeldLease) -> None:
        if time.monotonic() > held.renew_until:
            held.lost.set()
            return
        try:
            with make_session_factory(self._settings).begin() as session:
                if not leases.renew(session, held.lease, self._settings.lease_seconds):
                    held.lost.set()
        except Exception as error:
            # The database may come back before the lease runs out; if not, the fence decides.
            trace = None if is_expected(error) else error
            log.warning(
                "lease.renewal_failed",
                job_id=held.lease.job_id,
                error=type(error).__name__,
                exc_info=trace,
            )


class SecondLook:
    """Tells which leases had run out a moment ago already.

    After a frozen database wakes, renewals that waited for it arrive together with the relay's question: what
    looks run out at the first look may be renewed at the second.
    """

    def __init__(self, settings: Settings) -> None:
        self._apart = min(1.0, settings.lease_seconds / 4)
        self._first: dict[str, float] = {}

    def confirm(self, found: Sequence[Lease]) -> list[Lease]:
        """Return those of the leases found now that were found long enough ago, too."""
        now = time.monotonic()
        self._first = {lease.token: self._first.get(lease.token, now) for lease in found}
        return [lease for lease in found if now - self._first[lease.token] >= self._apart]
