"""What fails again and again is one line at its start, a count each minute, and one line at its end."""

import threading
import time
from collections.abc import Callable
from typing import Any

#: Pause between two lines of an outage that goes on.
REPEAT_SECONDS = 60.0


class Outage:
    """The failures in a row of one thing that is tried all the time.

    Args:
        log: a structlog logger.
        name: events are `<name>.failed`, `<name>.still_fails` and `<name>.recovered`.
        clock: seconds that only rise; tests move it.
        facts: what stands in each line.
    """

    def __init__(
        self, log: Any, name: str, clock: Callable[[], float] = time.monotonic, **facts: Any
    ) -> None:
        self._log = log
        self._name = name
        self._clock = clock
        self._facts = facts
        self._lock = threading.Lock()
        self._failures = 0
        self._kinds: set[str] = set()
        self._began = self._told = 0.0

    def failed(self, error: Exception) -> None:
        """Count a failure; the first of each kind is logged, with its trace if nobody expects that kind."""
        now, kind = self._clock(), type(error).__name__
        with self._lock:
            self._failures += 1
            new = kind not in self._kinds
            self._kinds.add(kind)
            if self._failures == 1:
                self._began = now
            if not new and now - self._told < REPEAT_SECONDS:
                return
            self._told = now
            facts = {**self._facts, "failures": self._failures, "seconds": round(now - self._began, 1)}
        if new:
            trace = None if is_expected(error) else error
            self._log.error(f"{self._name}.failed", error=kind, exc_info=trace, **facts)
        else:
            self._log.error(f"{self._name}.still_fails", error=kind, **facts)

    def ended(self) -> None:
        """Say that it works; logged when it failed before."""
        with self._lock:
            if not self._failures:
                return
            failures, seconds = self._failures, round(self._clock() - self._began, 1)
            self._failures = 0
            self._kinds.clear()
        self._log.warning(f"{self._name}.recovered", failures=failures, seconds=seconds, **self._facts)


#: Names of the errors by which our libraries say that a server is away.
_AWAY = frozenset(
    {"OperationalError", "InterfaceError", "ConnectionError", "TimeoutError", "OSError", "Face3DError"}
)


def is_expected(error: BaseException) -> bool:
    """Tell whether an error says that a server is away: its kind is enough, a trace tells nothing more."""
    return any(kind.__name__ in _AWAY for kind in type(error).__mro__)
