"""One photo at a time in this process: when the first UV pixel, the map and the head are there."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.report import ROUND_HEAD, card_memory, describe_run, round_rows, table, write_csv
from face3d.options import JobOptions
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.process_settings import prepare_process
from gpu_workers.serving.in_process import OneShotReconstructor, Product

#: Photos reconstructed before anything counts.
_WARM_UPS = 24
PRODUCTS: tuple[Product, ...] = ("png", "jpeg", "glb")


@dataclass(frozen=True, kw_only=True)
class SingleRun:
    """How to measure."""

    model_dir: Path
    device: str
    rounds: int
    options: JobOptions
    #: Photos that are also reconstructed by the plain path on the CPU; 0 leaves that part out.
    compared: int
    csv: Path | None


def bench_single(run: SingleRun, photos: Sequence[bytes], say: Callable[[str], None]) -> None:
    """Measure and print; each round takes the next share of the photos."""
    described = describe_run(n=len(photos), device=run.device)
    say(described)
    started = time.perf_counter()
    engine = AnnyEngine(run.model_dir, device=run.device)
    engine.warm_up()
    prepare_process(run.device)
    one_shot = OneShotReconstructor(engine)
    first = time.perf_counter()
    one_shot.reconstruct(photos[0], run.options)
    now = time.perf_counter()
    say(f"cold start: warm-up {first - started:.1f} s, then the first photo {1000 * (now - first):.0f} ms")
    rows: list[dict[str, object]] = []
    for product in PRODUCTS:
        for photo in photos[: min(_WARM_UPS, len(photos))]:
            one_shot.reconstruct(photo, run.options, product)
        reset_peak(run.device)
        rounds = []
        for number in range(run.rounds):
            chosen = photos[number :: run.rounds]
            rounds.append(_measure_round(one_shot, run.options, product, chosen, number, rows))
        names = [name for name in rounds[0] if name != "bytes"]
        say(f"\n{product}\n" + table(ROUND_HEAD, round_rows(names, rounds)))
        if run.device != "cpu":
            say(describe_memory(run.device))
    say("\nstage after stage, as workers run them\n" + _measure_stages(engine, run, photos, rows))
    if run.csv is not None:
        write_csv(run.csv, described, rows)
    if run.compared:
        say(compare_paths(one_shot, run.model_dir, run.options, photos[: run.compared]))


def _measure_round(
    one_shot: OneShotReconstructor,
    options: JobOptions,
    product: Product,
    photos: Sequence[bytes],
    number: int,
    rows: list[dict[str, object]],
) -> dict[str, list[float]]:
    gc.collect()
    times: dict[str, list[float]] = {}
    for photo in photos:
        result = one_shot.reconstruct(photo, options, product)
        for name, value in result.marks.items():
            times.setdefault(name, []).append(value)
        marks = {name: f"{1000 * value:.3f}" for name, value in result.marks.items()}
        rows.append({"product": product, "round": number, **marks, "bytes": len(result.data)})
    return times


def _measure_stages(
    engine: AnnyEngine, run: SingleRun, photos: Sequence[bytes], rows: list[dict[str, object]]
) -> str:
    """Return the table of the three stages, all maps on the host at the end; nothing overlaps."""
    rounds = []
    for number in range(run.rounds):
        gc.collect()
        times: dict[str, list[float]] = {}
        for photo in photos[number :: run.rounds]:
            moments = [time.perf_counter()]
            prepared = engine.preprocess(photo, run.options, PhotoLimits())
            moments.append(time.perf_counter())
            geometry = engine.geometry(prepared, run.options)
            moments.append(time.perf_counter())
            texture = engine.texture(prepared, geometry, run.options)
            moments.append(time.perf_counter())
            spans = dict(zip(("preprocess", "geometry", "texture"), np.diff(moments).tolist(), strict=True))
            spans["preprocess and geometry"] = spans["preprocess"] + spans["geometry"]
            spans |= {f"texture: {step}": taken for step, taken in texture.facts["timings"].items()}
            for name, value in spans.items():
                times.setdefault(name, []).append(value)
            marks = {name: f"{1000 * value:.3f}" for name, value in spans.items()}
            rows.append({"product": "stages", "round": number, **marks})
        rounds.append(times)
    return table(ROUND_HEAD, round_rows(list(rounds[0]), rounds))


def reset_peak(device: str) -> None:
    """Let the allocator count its peak from now on."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def describe_memory(device: str) -> str:
    """Return peak device memory: of tensors, of the allocator, and of the card as NVML sees it."""
    import torch

    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    return (
        f"device memory, peak: tensors {allocated / 1e6:.0f} MB, allocator {reserved / 1e6:.0f} MB; "
        f"card by NVML, context included: {card_memory(device):.0f} MB"
    )


def compare_paths(
    one_shot: OneShotReconstructor, model_dir: Path, options: JobOptions, photos: Sequence[bytes]
) -> str:
    """Return how far the fast path is from the plain one on the CPU: vertices and texture."""
    import io

    from PIL import Image

    plain = AnnyEngine(model_dir, device="cpu")
    distance, ratio = 0.0, np.inf
    for photo in photos:
        fast = one_shot.reconstruct(photo, options)
        prepared = plain.preprocess(photo, options, PhotoLimits())
        geometry = plain.geometry(prepared, options)
        skin = plain.texture(prepared, geometry, options).skin.astype(np.float32)
        baked = np.asarray(Image.open(io.BytesIO(fast.data))).astype(np.float32)
        error = float(np.mean((baked - skin) ** 2))
        ratio = min(ratio, 10 * np.log10(255**2 / max(error, 1e-9)))
        for part, other in zip(fast.geometry.head.parts, geometry.head.parts, strict=True):
            moved = np.linalg.norm(part.positions - other.positions, axis=1)
            distance = max(distance, 1000 * float(moved.max()))
    return (
        f"\nfast path against plain path, {len(photos)} photos: largest vertex difference {distance:.4f} mm "
        f"(0.05 allowed), lowest texture PSNR {ratio:.1f} dB (45 asked)"
    )
