"""One, two and four cards of one host: photos a second and latency of each card, replicated and sharded."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.fleet import Place, open_fleet
from bench.report import describe_run, percentile, table, write_csv

_TAIL = 0.95


def plan_places(cards: int, processes: int, *, sharded: bool) -> list[Place]:
    """Return where processes work.

    Args:
        cards: of the host, the first ones are used.
        processes: on each card; when sharded, on each pair: geometry on its first card, texture on the other.
    """
    if not sharded:
        return [Place(f"cuda:{card}", f"cuda:{card}") for card in range(cards) for _ in range(processes)]
    pairs = range(0, cards - 1, 2)
    return [Place(f"cuda:{card}", f"cuda:{card + 1}") for card in pairs for _ in range(processes)]


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
    variants = [(count, False) for count in counts] + [(count, True) for count in counts if count > 1]
    for cards, sharded in variants:
        places = plan_places(cards, shape[0], sharded=sharded)
        kind = "sharded" if sharded else "replicated"
        rates, seconds = [], {place: list[float]() for place in places}
        with open_fleet(places, model_dir=model_dir, photos=photos, threads=shape[1]) as fleet:
            for number in range(rounds):
                timed, rate = fleet.run(cards * len(photos))
                rates.append(rate)
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
        lines.append([str(cards), kind, f"{rate:.1f}", f"{rate / single:.2f}x", efficiency, latencies])
    head = ("cards", "stages", "photos/s", "of one", "efficiency", "P50/P95 ms of each card under this load")
    say(table(head, lines))
    if csv is not None:
        write_csv(csv, described, rows)
