"""ModelScope's pipeline as it is called, its networks and fit alone, engines hrn and anny: side by side.

All draw with our rasteriser, but for the rows that name nvdiffrast and PyTorch3D: those are measured where
both are installed, which is nobody's default (unmodified.py). Synthetic weights serve as well as real ones:
time depends on shapes and numbers of steps, and those are the real ones.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.hrn.unmodified import UnmodifiedPipeline
from bench.hrn.ways import time_call, time_engine, time_stages
from bench.report import card_memory, describe_run, table, write_csv
from face3d.errors import EngineUnavailable
from face3d.messages import Array
from face3d.options import JobOptions
from face3d.settings import Settings
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.engines.hrn.engine import HrnEngine
from gpu_workers.engines.hrn.files import find_model_folder
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.process_settings import prepare_process

#: From a photo's number to seconds of each part.
Way = Callable[[int], dict[str, float]]
Say = Callable[[str], None]


def bench_hrn(
    *,
    settings: Settings,
    device: str,
    photos: Sequence[bytes],
    rounds: int,
    seconds: float,
    texture_size: int,
    csv: Path | None,
    say: Say,
) -> None:
    """Measure and print.

    Args:
        rounds: each takes every photo once by every way; the first photo of each way is a warm-up more.
        seconds: what the calls of all ways may take together, see `measure_ways`.
    """
    described = describe_run(n=len(photos) * rounds, device=device)
    say(described)
    options = JobOptions.model_validate({"engine": "hrn", "texture_size": texture_size})
    steps = settings.hrn_texture_steps
    folder = find_model_folder(settings)
    anny = AnnyEngine(settings.model_dir, settings.landmark_model, device)
    hrn = HrnEngine(settings.model_dir, folder, settings.landmark_model, device, texture_steps=steps)
    with ExitStack() as stack:
        unmodified = None
        if device != "cpu":
            # It loads beside this process.
            unmodified = stack.enter_context(UnmodifiedPipeline(folder, device, steps))
        begun = time.perf_counter()
        anny.warm_up()
        hrn.warm_up()
        prepare_process(device)
        say(f"engines hrn and anny, loaded and warm: {time.perf_counter() - begun:.1f} s")
        front = hrn.front
        front.model.tex_iters = steps
        pictures = [anny.preprocess(photo, options, PhotoLimits()).photo for photo in photos]
        ways: dict[str, Way] = {
            f"ModelScope's call, {steps} steps": lambda row: time_call(front, pictures[row], frames=True),
            "its networks and steps, no frames, no normals": lambda row: time_call(
                front, pictures[row], frames=False
            ),
            "the same staged (front only)": lambda row: time_stages(front, pictures[row], steps),
            f"engine hrn, {texture_size} map": lambda row: time_engine(hrn, photos[row], options),
            f"engine anny, {texture_size} map": lambda row: time_engine(anny, photos[row], options),
            **_find_unmodified_ways(unmodified, pictures, say),
        }
        rows = measure_ways(ways, len(photos), rounds, seconds, say)
        if device != "cpu":
            say(f"card: {card_memory(device):.0f} MB by NVML, all that was measured loaded")
    if csv is not None:
        write_csv(csv, described, rows)


def _find_unmodified_ways(
    unmodified: UnmodifiedPipeline | None, pictures: Sequence[Array], say: Say
) -> dict[str, Way]:
    """Return the ways by nvdiffrast and PyTorch3D that work here; say which versions, or why not."""
    name = "ModelScope's call on nvdiffrast and PyTorch3D"
    if unmodified is None:
        say(f"{name}: not measured, nvdiffrast needs a CUDA card")
        return {}
    try:
        say(f"{name}: {unmodified.load()}")
        first = unmodified.time_call(pictures[0], frames=True)["call"]
    except EngineUnavailable as error:
        say(f"{name}: not measured, {error}")
        return {}
    say(f"its first call, with what is compiled then: {first:.1f} s")
    return {
        name: lambda row: unmodified.time_call(pictures[row], frames=True),
        f"{name}, no frames, no normals": lambda row: unmodified.time_call(pictures[row], frames=False),
    }


def measure_ways(
    ways: Mapping[str, Way], photos: int, rounds: int, seconds: float, say: Say
) -> list[dict[str, object]]:
    """Call each way in turn, photo by photo; print as it comes, then the table; return the raw figures.

    Args:
        photos: how many; a way gets the number of one.
        seconds: of it, each way has the same share. One that has used up its own is not called again, but
            every way is called once after its warm-up; the table says how many calls each had.
    """
    # Said as it comes: a run that is cut short has told something.
    for name, way in ways.items():
        say(f"first call of {name}: {sum(way(0).values()):.1f} s")
    taken: dict[tuple[str, str], list[float]] = {}
    spent = dict.fromkeys(ways, 0.0)
    rows: list[dict[str, object]] = []
    for number in range(rounds):
        for row in range(photos):
            said = []
            for name, way in ways.items():
                if spent[name] > 0 and spent[name] >= seconds / len(ways):
                    continue
                parts = way(row)
                whole = {"whole": sum(parts.values())}
                spent[name] += whole["whole"]
                said.append(f"{name} {1e3 * whole['whole']:.0f}")
                for part, length in (whole | parts if len(parts) > 1 else whole).items():
                    taken.setdefault((name, part), []).append(length)
                    named = {"round": number, "way": name, "part": part, "photo": row}
                    rows.append({**named, "seconds": f"{length:.4f}"})
            if said:
                say(f"round {number + 1}, photo {row + 1}, ms: {'; '.join(said)}")
    lines = [
        [name, part, f"{1e3 * statistics.median(all_):.1f}", f"{1e3 * max(all_):.1f}", str(len(all_))]
        for (name, part), all_ in taken.items()
    ]
    say(table(("way", "part", "median ms", "slowest ms", "n"), lines))
    return rows
