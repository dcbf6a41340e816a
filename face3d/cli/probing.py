"""Many questions at once, none of which may keep the answer waiting."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field


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
    _found: "queue.SimpleQueue[Finding | None]" = field(default_factory=queue.SimpleQueue)

    def start(self) -> None:
        """Begin in a thread of its own; one that hangs ends with the process."""
        threading.Thread(target=self._run, name=f"probe {self.subject}", daemon=True).start()

    def results(self, until: float) -> Iterator[Finding]:
        """Yield the findings as they come, and one more if the last has not come by then (monotonic time)."""
        while True:
            try:
                finding = self._found.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                yield Finding(
                    subject=self.subject,
                    ok=not self.late_is_wrong,
                    warning=not self.late_is_wrong,
                    detail="does not answer in time",
                    remedy=self.remedy,
                )
                return
            if finding is None:
                return
            yield finding

    def _run(self) -> None:
        try:
            for finding in self.examine():
                self._found.put(finding)
        except Exception as error:  # Whatever goes wrong is the finding.
            self._found.put(
                Finding(subject=self.subject, ok=False, detail=first_line(error), remedy=self.remedy)
            )
        self._found.put(None)


def run_probes(probes: Sequence[Probe], *, seconds: float) -> Iterator[Finding]:
    """Run all probes at once and yield their findings in the probes' order, all within some seconds."""
    until = time.monotonic() + seconds
    for probe in probes:
        probe.start()
    for probe in probes:
        yield from probe.results(until)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its kind."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
