"""Photos a second offline: all photos at hand, several in flight in one or more processes on a card."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.gpu.fleet import Place, open_fleet
from bench.report import card_memory, describe_run, table, write_csv


def bench_throughput(
    *,
    model_dir: Path,
    device: str,
    photos: Sequence[bytes],
    shapes: Sequence[tuple[int, int]],
    rounds: int,
    csv: Path | None,
    say: Callable[[str], None],
) -> None:
    """Measure and print.

    Args:
        shapes: (processes, photos in flight in each) to try.
        rounds: each takes all photos.
    """
    described = describe_run(n=len(photos) * rounds, device=device)
    say(described)
    lines, rows = [], list[dict[str, object]]()
    for processes, threads in shapes:
        rates = []
        places = [Place(device, device)] * processes
        with open_fleet(places, model_dir=model_dir, photos=photos, threads=threads) as fleet:
            for number in range(rounds):
                timed, rate = fleet.run(len(photos))
                rates.append(rate)
                shape = {"processes": processes, "in_flight": threads, "round": number}
                rows += [{**shape, "seconds": f"{one.seconds:.4f}"} for one in timed]
            memory = f"{card_memory(device):.0f}" if device != "cpu" else ""
        figures = [f"{value:.1f}" for value in (statistics.median(rates), min(rates))]
        lines.append([str(processes), str(threads), *figures, memory])
    say(table(("processes", "in flight each", "photos/s", "slowest round", "card MB by NVML"), lines))
    if csv is not None:
        write_csv(csv, described, rows)
