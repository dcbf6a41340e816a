"""What each switch costs or gains: the same photos with one thing changed at a time."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.report import describe_run, table
from face3d.options import JobOptions
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.process_settings import prepare_process
from gpu_workers.serving.in_process import OneShotReconstructor

_WARM_UPS = 8
#: Label to options that differ from the defaults.
_VARIANTS: dict[str, JobOptions] = {
    "default": JobOptions(),
    "sharpen=off": JobOptions(sharpen=False),
    "input-size=960": JobOptions(input_size=960),
    "texture-size=2048": JobOptions(texture_size=2048),
    "texture-size=1024": JobOptions(texture_size=1024),
}


def bench_switches(
    *, model_dir: Path, device: str, photos: Sequence[bytes], rounds: int, say: Callable[[str], None]
) -> None:
    """Measure and print medians, milliseconds."""
    say(describe_run(n=len(photos) * rounds, device=device))
    engine = AnnyEngine(model_dir, device=device)
    engine.warm_up()
    prepare_process(device)
    rows = [_measure(name, engine, options, photos, rounds) for name, options in _VARIANTS.items()]
    if device != "cpu":
        plain = AnnyEngine(model_dir, device=device, graphs=False)
        rows.append(_measure("CUDA graphs off", plain, JobOptions(), photos, rounds))
    say(table(("", "first pixel, ms", "PNG bytes, ms", "n"), rows))


def _measure(
    name: str, engine: AnnyEngine, options: JobOptions, photos: Sequence[bytes], rounds: int
) -> list[str]:
    one_shot = OneShotReconstructor(engine)
    for photo in photos[:_WARM_UPS]:
        one_shot.reconstruct(photo, options)
    first, whole = [], []
    for _ in range(rounds):
        marks = [one_shot.reconstruct(photo, options).marks for photo in photos]
        first.append(statistics.median(mark["first pixel"] for mark in marks))
        whole.append(statistics.median(mark["png"] for mark in marks))
    figures = [f"{1000 * statistics.median(values):.1f}" for values in (first, whole)]
    return [name, *figures, str(rounds * len(photos))]
