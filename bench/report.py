"""What every benchmark prints beside its figures: device, commit, versions, command, n."""

import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from face3d.settings import ROOT


def describe_run(*, n: int) -> str:
    """Return a line that lets a stranger repeat the run."""
    cores = len(os.sched_getaffinity(0))
    parts = [
        f"device: {_processor()}, {cores} cores",
        f"commit: {_commit()}",
        f"Python {platform.python_version()}, torch {version('torch')}",
        f"n = {n}",
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        f"command: {shlex.join(['face3d', *sys.argv[1:]])}",
    ]
    return "; ".join(parts)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share (0..1) of the values lies, interpolated.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, aligned for terminals as well."""
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def summary_row(name: str, seconds: Sequence[float]) -> list[str]:
    """Return name, median, P95 and largest in milliseconds, and n."""
    return [
        name,
        f"{1000 * statistics.median(seconds):.0f}",
        f"{1000 * percentile(seconds, 0.95):.0f}",
        f"{1000 * max(seconds):.0f}",
        str(len(seconds)),
    ]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123 - not a file of ours
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.decode().strip() + (" + changes" if changed.stdout.strip() else "")
