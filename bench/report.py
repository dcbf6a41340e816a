"""What every benchmark prints beside its figures: device, commit, versions, command, n."""

import csv
import itertools
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from face3d.settings import ROOT


def describe_run(*, n: int, device: str = "cpu") -> str:
    """Return a line that lets a stranger repeat the run.

    Args:
        device: `cpu`, or a CUDA device, whose card is then named too.
    """
    cores = len(os.sched_getaffinity(0))
    parts = [
        f"device: {describe_card(device)}{_processor()}, {cores} cores",
        f"commit: {_commit()}",
        f"Python {platform.python_version()}, torch {version('torch')}",
        f"n = {n}",
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        f"command: {_without_passwords(shlex.join(['face3d', *sys.argv[1:]]))}",
    ]
    return "; ".join(parts)


def _without_passwords(command: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//***@", command)


def describe_card(device: str) -> str:
    """Return name, driver and clocks of a CUDA device, with a separator after them; nothing for `cpu`."""
    if not device.startswith("cuda"):
        return ""
    import pynvml

    pynvml.nvmlInit()
    card = pynvml.nvmlDeviceGetHandleByIndex(card_index(device))
    sm, memory = (
        pynvml.nvmlDeviceGetClockInfo(card, kind) for kind in (pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM)
    )
    name, driver = pynvml.nvmlDeviceGetName(card), pynvml.nvmlSystemGetDriverVersion()
    return f"{name}, driver {driver}, {sm}/{memory} MHz (SM/memory, at the start); "


def card_index(device: str) -> int:
    """Return the number of a CUDA device: `cuda:1` is 1."""
    return int(device.partition(":")[2] or 0)


def card_memory(device: str) -> float:
    """Return the megabytes (10^6 bytes) in use on a CUDA device as NVML sees it, the driver's own too."""
    import pynvml

    pynvml.nvmlInit()
    return (
        float(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(card_index(device))).used)
        / 1e6
    )


def card_utilisation(device: str) -> float:
    """Return the percentage of the last moments in which the card ran a kernel, as NVML sees it."""
    import pynvml

    pynvml.nvmlInit()
    card = pynvml.nvmlDeviceGetHandleByIndex(card_index(device))
    return float(pynvml.nvmlDeviceGetUtilizationRates(card).gpu)


def write_csv(path: Path, run: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Write one row a request; a first line, a comment, says how they were measured."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        file.write(f"# {run}\n")
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def round_rows(names: Sequence[str], rounds: Sequence[Mapping[str, Sequence[float]]]) -> list[list[str]]:
    """Return a table's rows, milliseconds: median of the rounds' medians, P95, P99 and jitter of all, and n.

    Jitter is the mean difference between one request and the next.
    """
    rows = []
    for name in names:
        every = [value for one in rounds for value in one[name]]
        medians = [statistics.median(one[name]) for one in rounds]
        steps = [abs(b - a) for one in rounds for a, b in itertools.pairwise(one[name])]
        jitter = statistics.mean(steps or [0.0])
        tail = [percentile(every, share) for share in (0.95, 0.99)]
        figures = [statistics.median(medians), *tail, jitter]
        rows.append([name, *(f"{1000 * value:.1f}" for value in figures), str(len(every))])
    return rows


ROUND_HEAD = ("ms", "median", "P95", "P99", "jitter", "n")


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
        # A tree without its history: what the caller says.
        return os.environ.get("GIT_COMMIT", "unknown")
    return head.stdout.decode().strip() + (" + changes" if changed.stdout.strip() else "")
