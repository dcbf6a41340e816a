"""One, two and four cards of one host: photos a second and latency of each card, replicated and sharded.

Each card has its share of the host's cores, also where it works alone: a card that borrowed the cores of its
idle neighbours would make the others look slow.
"""

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from bench.gpu.fleet import Place, open_fleet
from bench.report import describe_run, percentile, table, write_csv

_TAIL = 0.95


def plan_places(
    cards: int, processes: int, *, sharded: bool, share: int = 0, cores: Sequence[int] = ()
) -> list[Place]:
    """Return where processes work.

    Args:
        cards: of the host, the first ones are used.
        processes: on each card; twice as many on each pair when sharded: geometry on its first card,
            texture on the other.
        share: cores of each card; 0: all processes share all cores.
        cores: of the host.
    """
    width = 2 if sharded else 1
    return [
        Place(
            f"cuda:{card}",
            f"cuda:{card + width - 1}",
            tuple(cores[card * share : (card + width) * share]),
        )
        for card in range(0, cards - width + 1, width)
        for _ in range(width * processes)
    ]


def bench_scale(
    *,
    model_dir: Path,
    photos: Sequence[bytes],
    counts: Sequence[int],
    shape: tuple[int, int],
    rounds: int,
    csv: Path | None,
    say: Callable[[str], None],
) -> None:
    """Measure and print.

    Args:
        counts: of cards; the first is what efficiency counts from.
        shape: processes a card (or pair), photos in flight in each.
        rounds: each takes all photos once for every card.
    """
    described = describe_run(n=len(photos) * rounds * sum(counts), device="cuda:0")
    say(described)
    lines, rows = [], list[dict[str, object]]()
    single = 0.0
    cores = sorted(os.sched_getaffinity(0))
    share = len(cores) // max(counts)
    say(f"each card has {share} of the host's {len(cores)} cores")
    variants = [(count, False) for count in counts] + [(count, True) for count in counts if count > 1]
    for cards, sharded in variants:
        places = plan_places(cards, shape[0], sharded=sharded, share=share, cores=cores)
        kind = "sharded" if sharded else "replicated"
        rates, busy = [], []
        seconds = {place: list[float]() for place in places}
        with open_fleet(places, model_dir=model_dir, photos=photos, threads=shape[1]) as fleet:
            for number in range(rounds):
                psutil.cpu_percent()
                timed, rate = fleet.run(cards * len(photos))
                rates.append(rate)
                busy.append(psutil.cpu_percent() / 100 * psutil.cpu_count())
                for one in timed:
                    seconds[places[one.place]].append(one.seconds)
                    place = places[one.place]
                    rows.append(
                        {
                            "cards": cards,
                            "stages": kind,
                            "round": number,
                            "geometry": place.geometry,
                            "texture": place.texture,
                            "seconds": f"{one.seconds:.4f}",
                        }
                    )
        rate = statistics.median(rates)
        single = single or rate / cards
        latencies = ", ".join(
            f"{1000 * statistics.median(values):.0f}/{1000 * percentile(values, _TAIL):.0f}"
            for values in seconds.values()
        )
        efficiency = f"{100 * rate / (single * cards):.0f} %"
        # A fleet that breaks must not take the others' figures with it.
        say(f"{cards} cards, {kind}: rounds of {', '.join(f'{one:.1f}' for one in rates)} photos/s")
        cells = [str(cards), kind, f"{rate:.1f}", f"{rate / single:.2f}x", efficiency]
        lines.append([*cells, f"{statistics.median(busy):.1f} of {cards * share}", latencies])
        if csv is not None:
            write_csv(csv, described, rows)
    head = ("cards", "stages", "photos/s", "of one", "efficiency", "cores busy", "P50/P95 ms of each card")
    say(table(head, lines))
