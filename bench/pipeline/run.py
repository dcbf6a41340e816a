"""The whole way of a photo on a local stack of its own: S3 PUT to webhook, by stage, and at full load."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.pipeline.stack_run import StackRun, open_stack
from bench.report import ROUND_HEAD, describe_run, round_rows, summary_row, table, write_csv
from face3d.states import STAGES

#: Photos that every worker process sees before anything counts: rounds of so many at once.
_WARM_ROUNDS, _WARM_AT_ONCE = 3, 4
_WHOLE, _BETWEEN = "PUT to webhook", "between the stages"


def bench_pipeline(
    *,
    engine: str,
    device: str,
    photos: Sequence[bytes],
    sequential: int,
    load: int,
    options: Mapping[str, str],
    broker: str | None = None,
    say: Callable[[str], None],
) -> None:
    """Measure and print one photo at a time, then all at once.

    Args:
        device: see `open_stack`.
        photos: file contents, used in turn.
        sequential: photos sent one after another.
        load: photos sent as fast as the storage takes them; 0 leaves that part out.
        options: option name to text, beside the engine.
        broker: see `open_stack`.
        say: takes each finished piece of the report.
    """
    started = time.monotonic()
    with open_stack(engine=engine, device=device, photos=photos, options=options, broker=broker) as run:
        say(describe_run(n=sequential + load, device=_card(device)))
        say(f"stack up in {time.monotonic() - started:.1f} s; {_describe_options(run)}")
        _warm_up(run, 1)
        times = _times(run, run.one_by_one(sequential))
        lines = [summary_row(name, times[name]) for name in (*STAGES, _BETWEEN, _WHOLE)]
        say("One photo at a time, ms\n" + table(("", "median", "P95", "max", "n"), lines))
        if load:
            say(_at_once(run, load))


def bench_event(
    *,
    engine: str,
    device: str,
    photos: Sequence[bytes],
    rounds: int,
    options: Mapping[str, str],
    csv: Path | None,
    say: Callable[[str], None],
) -> None:
    """Measure and print one photo at a time, in rounds: what an app waits for."""
    described = describe_run(n=len(photos), device=_card(device))
    with open_stack(engine=engine, device=device, photos=photos, options=options) as run:
        say(f"{described}; {_describe_options(run)}")
        _warm_up(run, 2)
        every: list[str] = []
        measured, rows = [], list[dict[str, object]]()
        for number in range(rounds):
            keys = run.one_by_one(len(photos[number::rounds]))
            times = _times(run, keys)
            every += keys
            measured.append(times)
            for index in range(len(times[_WHOLE])):
                row = {name: f"{1000 * values[index]:.3f}" for name, values in times.items()}
                rows.append({"round": number, **row})
        say(table(ROUND_HEAD, round_rows([*STAGES, _BETWEEN, _WHOLE], measured)))
        steps = run.step_seconds(every)
        say(table(("step, ms", "median", "P95", "max", "n"), [summary_row(*step) for step in steps.items()]))
    if csv is not None:
        write_csv(csv, described, rows)


def _card(device: str) -> str:
    return "cuda:0" if device == "cuda:all" else device


def _describe_options(run: StackRun) -> str:
    return ", ".join(f"{name}={value}" for name, value in run.options.items())


def _warm_up(run: StackRun, times: int) -> None:
    """Let every worker process do its first jobs."""
    for _ in range(times * _WARM_ROUNDS):
        run.at_once(_WARM_AT_ONCE)


def _times(run: StackRun, keys: Sequence[str]) -> dict[str, list[float]]:
    """Return seconds of each stage, of what lies between, and of the whole way, for photos that are done."""
    stages, whole = run.stage_seconds(keys), run.seconds(keys)
    times = {stage.value: [stages[key][stage.value] for key in keys] for stage in STAGES}
    between = [total - sum(stages[key].values()) for key, total in zip(keys, whole, strict=True)]
    return {**times, _BETWEEN: between, _WHOLE: whole}


def _at_once(run: StackRun, count: int) -> str:
    before = run.cpu_seconds()
    started = time.perf_counter()
    keys = run.at_once(count)
    ended = max(run.receiver.arrived[key] for key in keys)
    uploaded = max(run.sent[key] for key in keys)
    after = run.cpu_seconds()
    used = {name: 1000 * (after[name] - before.get(name, 0.0)) / count for name in after}
    rows = [[name, f"{value:.1f}"] for name, value in sorted(used.items(), key=lambda item: -item[1])]
    rows.append(["all", f"{sum(used.values()):.1f}"])
    return (
        f"{count} photos at once: {count / (ended - started):.1f} jobs a second, first PUT to last webhook "
        f"(the last upload began after {uploaded - started:.1f} s)\n"
        + table(("component", "CPU-ms a job"), rows)
    )
