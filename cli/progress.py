"""Progress bars of jobs in a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_STAGES = ("preprocess", "geometry", "texture", "packaging")

#: Up to so many jobs show a bar for each stage; more show one bar each.
_DETAILED_JOBS = 2


class JobBars:
    """Bars for several jobs; a context manager."""

    def __init__(self, labels: Mapping[str, str], console: Console) -> None:
        """Take label by job handle; a handle is whatever the caller passes to `update`."""
        self._detailed = len(labels) <= _DETAILED_JOBS
        self._labels = dict(labels)
        self._several = len(labels) > 1
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=40, complete_style="cyan", finished_style="green"),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}
        for handle, label in self._labels.items():
            for stage in _STAGES if self._detailed else ("",):
                name = f"{label}  {stage:<11}" if self._several and stage else stage or label
                self._tasks[handle, stage] = self._progress.add_task(name, total=100, start=False, note="")

    def __enter__(self) -> "JobBars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, handle: str, job: Mapping[str, Any]) -> None:
        """Show a job as the API tells it."""
        if not self._detailed:
            self._show(self._tasks[handle, ""], job["percent"], job["state"], started=True)
            return
        for stage in job["stages"]:
            note = stage["state"]
            if stage["state"] == "done" and stage["seconds"] is not None:
                note = f"{stage['seconds']:.2f} s"
            self._show(
                self._tasks[handle, stage["name"]],
                stage["percent"],
                note,
                started=stage["started_at"] is not None,
            )

    def _show(self, task: TaskID, percent: float, note: str, *, started: bool) -> None:
        if started and self._progress.tasks[task].start_time is None:
            self._progress.start_task(task)
        self._progress.update(task, completed=percent, note=note)
        if percent >= 100:
            self._progress.stop_task(task)
