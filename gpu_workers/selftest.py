"""The golden self-test: an engine works on an input whose result is known.

`anny`: landmarks of the template head, seen 8 degrees from the left by an ideal camera, must give the
template's skin back; a sound device is 0.05 mm off beside the lids, 0.01 elsewhere. `null`: its head must be
the one of a fresh engine. A device that computes wrongly without saying so is found here.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from face3d.options import JobOptions
from face3d.stage_results import FittedHead, PreprocessedPhoto
from gpu_workers.engines.base import BatchingEngine, Engine
from gpu_workers.photo_limits import PhotoLimits

#: Largest distance of a vertex from where it should be, metres: twice a sound device's.
TOLERANCE = 1e-4

_FOCAL, _SIZE, _DISTANCE, _YAW = 2000.0, 1000, 0.9, math.radians(8.0)


def find_fault(engine: Engine, model_dir: Path, *, largest_batch: int = 1) -> str | None:
    """Run the test of an engine, alone and in shared passes, which warms their kernels too.

    Returns:
        What is wrong, or None. Errors of the engine are a fault as well.
    """
    try:
        if engine.name == "anny":
            error = _anny_error(engine, model_dir, largest_batch)
        elif engine.name == "null":
            error = _null_error(engine, largest_batch)
        else:
            return None
    except Exception as fault:
        return f"golden self-test of engine {engine.name} raised {type(fault).__name__}"
    if not error <= TOLERANCE:
        off, allowed = 1e3 * error, 1e3 * TOLERANCE
        return f"golden self-test of engine {engine.name}: {off:.3f} mm off, {allowed} mm allowed"
    return None


def _positions(result: FittedHead) -> NDArray[np.float64]:
    return np.concatenate([part.positions for part in result.head.parts]).astype(np.float64)


def _results(engine: Engine, prepared: PreprocessedPhoto, largest_batch: int) -> Iterator[FittedHead]:
    """Yield the engine's answers to one photo, and to passes of 2 and more of it."""
    yield engine.geometry(prepared, JobOptions())
    if isinstance(engine, BatchingEngine):
        for count in range(2, largest_batch + 1):
            yield from engine.geometry_batch([prepared] * count, [JobOptions()] * count)


def _anny_error(engine: Engine, model_dir: Path, largest_batch: int) -> float:
    import torch

    from gpu_workers.head.model.head_template import load_head_data
    from gpu_workers.head.rigging.contact_resolution import ContactResolution
    from gpu_workers.head.rigging.openings import find_openings

    data, cpu = load_head_data(model_dir), torch.device("cpu")
    template = data.positions.astype(np.float64)
    points = (template[data.landmark_vertices] * data.landmark_weights[..., None]).sum(1)
    turned = (points - points.mean(0)) @ _turn(_YAW).T
    depth = _DISTANCE - turned[:, 2]
    landmarks = np.stack(
        [
            _FOCAL * turned[:, 0] / depth + _SIZE / 2,
            -_FOCAL * turned[:, 1] / depth + _SIZE / 2,
            -_FOCAL * turned[:, 2] / _DISTANCE,
        ],
        axis=1,
    )
    prepared = PreprocessedPhoto(
        photo=np.full((_SIZE, _SIZE, 3), 128, np.uint8),
        landmarks=landmarks.astype(np.float32),
        scores=data.score_baseline.astype(np.float32),
        camera=np.array([_FOCAL, _SIZE / 2, _SIZE / 2]),
        facts={
            "face": {
                "yaw": math.degrees(_YAW),
                "pitch": 0.0,
                "eye_distance_px": 200.0,
                "sharpness": 1.0,
                "disagreement": 0.0,
            }
        },
    )

    # The skin, with lips that meet, but no lids: they are moved onto each head's eyeballs, where those of the
    # basis, whose landmarks these are, do not lie. Teeth are seated to the lips of each head.
    rows = data.part("skin").vertices
    kept = np.maximum(data.masks["eyelids"], data.masks["eye_socket"]) == 0
    contacts = ContactResolution(data, find_openings(data.parts[0], template[rows], cpu), cpu)

    def error(result: FittedHead) -> float:
        scale = float(result.facts["scale"])
        expected = torch.from_numpy(template.copy())
        contacts.resolve_neutral(expected, scale)
        skin = expected.numpy()[rows][kept]
        found = result.head.part("skin").positions[kept].astype(np.float64) / scale
        away = (found - found.mean(0)) - (skin - skin.mean(0))
        return float(np.linalg.norm(away, axis=1).max())

    return _worst(error(result) for result in _results(engine, prepared, largest_batch))


def _worst(errors: Iterable[float]) -> float:
    """Return the largest; not-a-number is the worst of all, where `max` may pass over it."""
    return float(np.max(list(errors)))


def _null_error(engine: Engine, largest_batch: int) -> float:
    from gpu_workers.engines.null.engine import NullEngine

    own = NullEngine()
    prepared = own.preprocess(b"", JobOptions(), PhotoLimits())
    fresh = _positions(own.geometry(prepared, JobOptions()))
    results = _results(engine, prepared, largest_batch)
    return _worst(float(np.abs(_positions(result) - fresh).max()) for result in results)


def _turn(angle: float) -> NDArray[np.float64]:
    """Return the rotation about the vertical axis."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
