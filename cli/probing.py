"""Many questions at once, none of which may keep the answer waiting."""

import importlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

#: Of the whole time: who was asked so late that less was left to answer in is not to blame.
ANSWER_SHARE = 0.25

BUSY = "try again when the machine is less busy; if that does not help, look at its disk"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor."""

    subject: str
    ok: bool
    detail: str
    #: What to do when it is not ok, or when it is worth a look.
    remedy: str = ""
    #: It works, but is worth a look.
    warning: bool = False


@dataclass
class Probe:
    """One examination: what it is called, what it yields, and what to do when it does not answer."""

    subject: str
    examine: Callable[[], Iterable[Finding]]
    remedy: str
    #: Whether one that is late is wrong; what computes is late on a busy machine too.
    late_is_wrong: bool = True
    #: Modules that must be loaded before it can ask.
    modules: Sequence[str] = ()
    _asked: float | None = None
    _found: "queue.SimpleQueue[Finding | None]" = field(default_factory=queue.SimpleQueue)

    def load_and_start(self) -> None:
        """Load the modules, then begin in a thread of its own; one that hangs ends with the process."""
        try:
            for name in self.modules:
                importlib.import_module(name)
        except Exception as error:  # What is not installed is the finding.
            self._fail(error)
            return
        self._asked = time.monotonic()
        threading.Thread(target=self._run, name=f"probe {self.subject}", daemon=True).start()

    def results(self, until: float, least: float) -> Iterator[Finding]:
        """Yield the findings as they come, and one more if the last has not come by then.

        Args:
            until: monotonic time.
            least: who was asked fewer seconds before that is not to blame: this machine is busy.
        """
        while True:
            try:
                finding = self._found.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                yield self._late(busy=self._asked is None or until - self._asked < least)
                return
            if finding is None:
                return
            yield finding

    def _late(self, *, busy: bool) -> Finding:
        wrong = self.late_is_wrong and not busy
        return Finding(
            subject=self.subject,
            ok=not wrong,
            warning=not wrong,
            detail="not known in time: this machine is busy" if busy else "does not answer in time",
            remedy=BUSY if busy else self.remedy,
        )

    def _run(self) -> None:
        try:
            for finding in self.examine():
                self._found.put(finding)
        except Exception as error:  # Whatever goes wrong is the finding.
            self._fail(error)
            return
        self._found.put(None)

    def _fail(self, error: Exception) -> None:
        self._found.put(Finding(subject=self.subject, ok=False, detail=first_line(error), remedy=self.remedy))
        self._found.put(None)


def run_probes(probes: Sequence[Probe], *, seconds: float) -> Iterator[Finding]:
    """Run all probes at once and yield their findings in the probes' order, all within some seconds.

    One thread loads their modules, for those that import each other in a circle break when several do: first
    what needs none, then the servers' probes.
    """
    until = time.monotonic() + seconds
    in_turn = sorted(probes, key=lambda probe: (bool(probe.modules), not probe.late_is_wrong))

    def start() -> None:
        for probe in in_turn:
            probe.load_and_start()

    threading.Thread(target=start, name="probes", daemon=True).start()
    for probe in probes:
        yield from probe.results(until, seconds * ANSWER_SHARE)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its kind."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
