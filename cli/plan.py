"""`face3d plan`: how many of which card."""

import re
from dataclasses import asdict
from typing import Annotated

import typer

from cli.console import output
from face3d.errors import ConfigurationError

_UNITS = {"ms": 1e-3, "s": 1.0, "": 1.0}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(
        epilog="Example:  face3d plan --photos-per-day 2000 --burst 100 --max-latency 200ms --gpu a100,t4"
    )(plan)


def plan(
    photos_per_day: Annotated[int, typer.Option(help="Photos a day, bursts included.", min=1)] = 2000,
    burst: Annotated[
        int, typer.Option(help="Photos that come at one moment; 0: never.", min=0, max=10_000)
    ] = 0,
    bursts_per_day: Annotated[int, typer.Option(help="How often.", min=1)] = 4,
    burst_within: Annotated[
        str | None, typer.Option(help="Ask also for a burst done within this: 5s.")
    ] = None,
    max_latency: Annotated[str, typer.Option(help="The bound: 200ms, 1.5s.")] = "200ms",
    percentile: Annotated[
        float, typer.Option(help="Share of photos that must keep it, percent.", min=1, max=99.9)
    ] = 99,
    gpu: Annotated[str, typer.Option(help="Cards to compare; `all` for every one with figures.")] = "all",
    pattern: Annotated[str, typer.Option(help="steady, burst or office (all within eight hours).")] = "burst",
    slots: Annotated[
        int | None, typer.Option(help="Jobs at once on a card; by default 1, or what was measured.", min=1)
    ] = None,
    batch: Annotated[int, typer.Option(help="Most photos in one forward pass.", min=1)] = 1,
    cards_per_host: Annotated[int, typer.Option(help="Cards in one host.", min=1)] = 4,
    until: Annotated[str, typer.Option(help="map, or asset: packaging and queue hops too.")] = "map",
    seed: Annotated[int, typer.Option(help="Seed of the simulation.", min=0)] = 1,
    platform: Annotated[
        bool, typer.Option("--platform", help="Show what broker, database, S3 and CPUs must carry.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the simulation with a real run, and do nothing else.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Say how many of which card meet a bound, by simulation over measured and claimed service times."""
    if check:
        _check(as_json)
        return
    from capacity.arrivals import Pattern
    from capacity.plan import Question, make_plan
    from capacity.platform import platform_needs
    from capacity.report import describe_question, plan_notes, plan_table, platform_table
    from capacity.service_times import load_catalogue

    if until not in {"map", "asset"}:
        raise ConfigurationError(f"--until is map or asset, not {until!r}.")
    if pattern not in set(Pattern):
        raise ConfigurationError(f"--pattern is {', '.join(Pattern)}, not {pattern!r}.")
    question = Question(
        photos_per_day=photos_per_day,
        burst=burst,
        bursts_per_day=bursts_per_day,
        max_latency=read_seconds(max_latency),
        share=percentile / 100,
        burst_within=None if burst_within is None else read_seconds(burst_within),
        pattern=Pattern(pattern),
        slots=slots,
        asset=until == "asset",
        cards_per_host=cards_per_host,
        batch=batch,
        seed=seed,
    )
    catalogue = load_catalogue()
    names = list(catalogue.cards) if gpu == "all" else [name.strip().lower() for name in gpu.split(",")]
    plans = make_plan(question, catalogue, names)
    rate = photos_per_day / 86_400
    needs = platform_needs(catalogue, [catalogue.card(name) for name in names], rate) if platform else []
    if as_json:
        document = {
            "question": asdict(question),
            "plans": [asdict(one) for one in plans],
            "platform": [asdict(need) for need in needs],
        }
        output.print_json(data=document)
        return
    pieces = [describe_question(question), plan_table(plans, burst), plan_notes(plans)]
    if needs:
        pieces.append(platform_table(needs, rate))
    output.print("\n\n".join(pieces), markup=False, soft_wrap=True)


def read_seconds(text: str) -> float:
    """Return the seconds of `200ms`, `1.5s` or `2`.

    Raises:
        ConfigurationError: it is no duration above 0.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|)", text.strip().lower())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if seconds <= 0:
        raise ConfigurationError(f"{text!r} is no duration; write 200ms or 1.5s.")
    return seconds


def _check(as_json: bool) -> None:
    from bench.report import table
    from capacity.check import compare, comparison_rows, load_run

    run = load_run()
    rows = compare(run)
    if as_json:
        output.print_json(data={"run": run.where, "rows": [asdict(row) for row in rows]})
        return
    left = ", ".join(f"{value:.2f} ({part})" for part, value in run.cores_left.items())
    pieces = [
        f"The run: {run.where}; engine null; cores left by other processes: {left}",
        table(("figure", "predicted", "measured", "difference"), comparison_rows(rows)),
    ]
    output.print("\n\n".join(pieces), markup=False, soft_wrap=True)
