"""ModelScope's pipeline as it is called, its networks and fit alone, engines hrn and anny: side by side.

All draw with our rasteriser: nvdiffrast and PyTorch3D are not part of the environment. Made-up weights serve
as well as real ones: time depends on shapes and numbers of steps, and those are the real ones.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bench.report import card_memory, describe_run, table, write_csv
from face3d.options import JobOptions
from face3d.settings import Settings
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.engines.base import Engine, PhotoLimits
from gpu_workers.engines.hrn.engine import HrnEngine
from gpu_workers.engines.hrn.files import find_model_folder
from gpu_workers.engines.hrn.loading import on_device
from gpu_workers.engines.hrn.stages import FrontReconstruction

_FRAMES = ("face_shape_transformed_list", "face_norm_roted_list", "face_vertex_list")


def bench_hrn(
    *,
    settings: Settings,
    device: str,
    photos: Sequence[bytes],
    rounds: int,
    texture_size: int,
    csv: Path | None,
    say: Callable[[str], None],
) -> None:
    """Measure and print.

    Args:
        rounds: each takes every photo once by every way; the first photo of each way is a warm-up more.
    """
    described = describe_run(n=len(photos) * rounds, device=device)
    say(described)
    options = JobOptions.model_validate({"engine": "hrn", "texture_size": texture_size})
    steps = settings.hrn_texture_steps
    hrn = HrnEngine(
        settings.model_dir, find_model_folder(settings), settings.landmark_model, device, texture_steps=steps
    )
    anny = AnnyEngine(settings.model_dir, settings.landmark_model, device)
    hrn.warm_up()
    anny.warm_up()
    front = hrn.front
    front.model.tex_iters = steps
    pictures = [anny.preprocess(photo, options, PhotoLimits()).tensors["photo"] for photo in photos]
    ways: dict[str, Callable[[int], dict[str, float]]] = {
        f"ModelScope's call, {steps} steps": lambda row: _call(front, pictures[row], frames=True),
        "its networks and steps, no frames, no normals": lambda row: _call(
            front, pictures[row], frames=False
        ),
        "the same staged (front only)": lambda row: _stages(front, pictures[row], steps),
        f"engine hrn, {texture_size} map": lambda row: _engine(hrn, photos[row], options),
        f"engine anny, {texture_size} map": lambda row: _engine(anny, photos[row], options),
    }
    # Said as it comes: a run that is cut short has told something.
    for name, way in ways.items():
        say(f"first call of {name}: {sum(way(0).values()):.1f} s")
    taken: dict[tuple[str, str], list[float]] = {}
    rows: list[dict[str, object]] = []
    for number in range(rounds):
        for name, way in ways.items():
            for row in range(len(photos)):
                parts = way(row)
                whole = {"whole": sum(parts.values())}
                for part, seconds in (whole | parts if len(parts) > 1 else whole).items():
                    taken.setdefault((name, part), []).append(seconds)
                    rows.append(
                        {
                            "round": number,
                            "way": name,
                            "part": part,
                            "photo": row,
                            "seconds": f"{seconds:.4f}",
                        }
                    )
        medians = (f"{name} {1e3 * statistics.median(taken[name, 'whole']):.0f}" for name in ways)
        say(f"after round {number + 1}, median ms: {'; '.join(medians)}")
    lines = [
        [name, part, f"{1e3 * statistics.median(all_):.1f}", f"{1e3 * max(all_):.1f}"]
        for (name, part), all_ in taken.items()
    ]
    say(table(("way", "part", "median ms", "slowest ms"), lines))
    if device != "cpu":
        say(f"card: {card_memory(device):.0f} MB by NVML, both engines loaded")
    if csv is not None:
        write_csv(csv, described, rows)


def _call(front: FrontReconstruction, photo: np.ndarray[Any, Any], *, frames: bool) -> dict[str, float]:
    """Time ModelScope's own call, without what draws its frames and counts its normals if asked."""
    from modelscope.models.cv.face_reconstruction.models import facerecon_model

    face = front.model.facemodel_front
    original = face.compute_for_render_hierarchical_mid

    def no_frames(*args: Any, **kwargs: Any) -> Any:
        results = original(*args, **kwargs)
        for name in _FRAMES:
            if results[-1] is not None and name in results[-1]:
                results[-1][name] = []
        return results

    with ExitStack() as stack:
        stack.enter_context(on_device(front.device))
        if not frames:
            stack.enter_context(patch.object(face, "compute_for_render_hierarchical_mid", no_frames))
            stack.enter_context(patch.object(facerecon_model.utils, "estimate_normals", lambda *_: None))
        begun = time.perf_counter()
        front.pipeline(np.ascontiguousarray(photo[..., ::-1]))
        return {"call": time.perf_counter() - begun}


def _stages(front: FrontReconstruction, photo: np.ndarray[Any, Any], steps: int) -> dict[str, float]:
    moments = [time.perf_counter()]
    crops = front.crop(photo)
    moments.append(time.perf_counter())
    fitted = front.fit(crops)
    moments.append(time.perf_counter())
    front.colour(crops, fitted, steps)
    moments.append(time.perf_counter())
    spans = np.diff(moments).tolist()
    return dict(zip(("crop", "networks", f"{steps} steps"), spans, strict=True))


def _engine(engine: Engine, photo: bytes, options: JobOptions) -> dict[str, float]:
    moments = [time.perf_counter()]
    prepared = engine.preprocess(photo, options, PhotoLimits())
    moments.append(time.perf_counter())
    geometry = engine.geometry(prepared, options)
    moments.append(time.perf_counter())
    engine.texture(prepared, geometry, options)
    moments.append(time.perf_counter())
    return dict(zip(("preprocess", "geometry", "texture"), np.diff(moments).tolist(), strict=True))
