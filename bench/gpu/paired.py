"""One photo through two checkouts, by turns.

`python -m bench.gpu.paired OTHER PHOTO [DEVICE [ROUNDS [PHOTOS]]]`

Each round starts one process for each checkout, with its own code and the same models; the order changes
from round to round. OTHER is a checkout of v0.1.0 or later. Told are medians in milliseconds of each stage,
and the ratio of this checkout to OTHER with a 95 % interval (bootstrap over rounds and photos).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from face3d.settings import ROOT

#: Photos before anything counts.
WARM = 4
#: Samples of the bootstrap.
RESAMPLES = 2000

#: Runs in either checkout: modules have moved since v0.1.0.
CHILD = """
import json, sys, time, pathlib
try:
    from gpu_workers.photo_limits import PhotoLimits
    from gpu_workers.process_settings import prepare_process
except ImportError:
    from gpu_workers.engines.base import PhotoLimits
    prepare_process = lambda device: None
from face3d.options import JobOptions
from face3d.settings import get_settings
from gpu_workers.engines.anny.engine import AnnyEngine

photo, device = pathlib.Path(sys.argv[1]).read_bytes(), sys.argv[2]
warm, count = int(sys.argv[3]), int(sys.argv[4])
settings = get_settings()
engine = AnnyEngine(settings.model_dir, settings.landmark_model, device)
engine.warm_up()
prepare_process(device)
options, limits, rows = JobOptions(), PhotoLimits(), []
for _ in range(warm + count):
    moments = [time.perf_counter()]
    prepared = engine.preprocess(photo, options, limits)
    moments.append(time.perf_counter())
    geometry = engine.geometry(prepared, options)
    moments.append(time.perf_counter())
    engine.texture(prepared, geometry, options)
    moments.append(time.perf_counter())
    steps = [after - before for before, after in zip(moments, moments[1:])]
    rows.append([1e3 * seconds for seconds in [*steps, moments[-1] - moments[0]]])
print(json.dumps(rows[warm:]))
"""
STAGES = ("preprocess", "geometry", "texture", "all three")


def run_once(
    checkout: Path, photo: Path, device: str, photos: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return (photos, 4) milliseconds of one process."""
    environment = {**os.environ, "PYTHONPATH": f"{checkout}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(photo.resolve()), device, str(WARM), str(photos)],
        cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return np.array(json.loads(done.stdout.splitlines()[-1]))


def main(other: str, photo: str, device: str = "cuda", rounds: str = "3", photos: str = "30") -> None:
    """Run the rounds and print the table."""
    checkouts = {"other": Path(other).resolve(), "this": ROOT}
    rows: dict[str, list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]] = {"other": [], "this": []}
    for number in range(int(rounds)):
        for name in sorted(checkouts, reverse=bool(number % 2)):
            rows[name].append(run_once(checkouts[name], Path(photo), device, int(photos)))
    rng = np.random.default_rng(0)
    sys.stdout.write("| stage | other, ms | this, ms | ratio | 95 % |\n|---|---|---|---|---|\n")
    for column, stage in enumerate(STAGES):
        before, after = ([run[:, column] for run in rows[name]] for name in ("other", "this"))
        ratios = []
        for _ in range(RESAMPLES):
            chosen = rng.integers(0, len(before), len(before))
            medians = [
                np.median(np.concatenate([rng.choice(runs[index], len(runs[index])) for index in chosen]))
                for runs in (before, after)
            ]
            ratios.append(medians[1] / medians[0])
        first, second = (float(np.median(np.concatenate(runs))) for runs in (before, after))
        low, high = np.quantile(ratios, (0.025, 0.975))
        sys.stdout.write(
            f"| {stage} | {first:.1f} | {second:.1f} | {second / first:.3f} | {low:.3f} to {high:.3f} |\n"
        )
    sys.stdout.write(f"n = {photos} photos a process, {rounds} rounds\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
