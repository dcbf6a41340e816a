"""Measures how the landmark detector misses the points of our head: a LandmarkErrors (landmark_noise.py).

Random heads are rendered and looked at as photos are; what is found is compared with what is there. The free
forms of the random heads, which the basis of the fit cannot follow, count as errors too.

    python -m gpu_workers.training.measure_landmarks --model-dir DIR --textures FILE --out FOLDER
"""

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from gpu_workers.head.fitting.landmark_noise import UNKNOWN, pose_features
from gpu_workers.head.landmarks.face_detection import MeasuredFace, find_faces, measure_face
from gpu_workers.head.landmarks.mediapipe_landmarker import MODEL_FILE, FaceLandmarker
from gpu_workers.head.model.head_template import HeadData, load_head_data
from gpu_workers.head.model.mediapipe_landmarks import SKIN_LANDMARKS
from gpu_workers.head.ops.rigid_transforms import head_angles
from gpu_workers.training.synthetic_photos.render import PictureMaker
from gpu_workers.training.synthetic_photos.textures import load_material

log = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

#: Side of the pictures, pixels, and in sizes of the landmarks' box: a portrait with the whole head.
_SIZE, _MARGIN = 512, 1.9
#: Factor on the sampler's yaw and pitch: photos that are accepted look into the camera.
_TURNED = 0.55
#: Factors on identity, local changes and expression: a network wants wider shapes than people have.
_STRENGTH = (0.9, 0.5, 0.5)
_BATCH = 4
#: A face whose landmarks lie farther from the truth on average (eye distances) is another one, or none.
_LOST = 0.25
#: Number of common errors that are kept, and the share of the variance that counts as not common, because few
#: samples cannot tell.
_FACTORS = 128
_SHRINKAGE = 0.6
#: Least variance of one coordinate, eye distances squared.
_SMALLEST = 1e-6
#: Ridge of the expression's regression, in samples.
_RIDGE = 30.0


@dataclass(frozen=True, kw_only=True)
class Samples:
    """N faces that were found, eyes level."""

    #: (N, 478, 3) detected less true, eye distances; z relative to the skin's mean.
    errors: FloatArray
    #: (N, 2) yaw and pitch, degrees.
    angles: FloatArray
    #: (N, 52) the detector's scores, and the true coefficients.
    scores: FloatArray
    expression: FloatArray


@dataclass(frozen=True, kw_only=True)
class _Found:
    """One face of `Samples`."""

    errors: FloatArray
    angles: FloatArray
    scores: FloatArray
    expression: FloatArray


def observe(
    data: HeadData, landmarker: FaceLandmarker, textures: Path | None, count: int, seed: int
) -> Samples:
    """Render heads and look at them until enough faces are found."""
    found: list[_Found] = []
    for one in _observe_batches(data, landmarker, textures, seed):
        found += one
        if len(found) // 100 != (len(found) - len(one)) // 100:
            log.info("%d faces", len(found))
        if len(found) >= count:
            break
    return Samples(**{name: np.stack([getattr(one, name) for one in found]) for name in vars(found[0])})


def _observe_batches(
    data: HeadData, landmarker: FaceLandmarker, textures: Path | None, seed: int
) -> Iterator[list[_Found]]:
    device = torch.device("cpu")
    maker = PictureMaker(data, load_material(textures, device), device)
    sampler = maker.heads
    generator = torch.Generator().manual_seed(seed)
    while True:
        heads, looks = maker.sample(
            _BATCH, generator, clean=True, margin=_MARGIN, turned=_TURNED, strength=_STRENGTH
        )
        images = maker.render(heads, looks, _SIZE, generator).pixels.numpy()
        # What the basis can say of the head: without its free form.
        known = sampler.positions + (heads.coefficients @ sampler.columns).view(_BATCH, -1, 3)
        placed = sampler.landmarks(known) @ heads.rotation.mT + heads.translation[:, None]
        truth = heads.project(placed, _SIZE).double().numpy()
        found = []
        for index in range(_BATCH):
            faces = find_faces(landmarker, images[index])
            if faces:
                face = measure_face(landmarker, images[index], faces[0], data.landmark_mirror)
                focal = float(heads.focal[index]) * _SIZE
                rotation = heads.rotation[index].double().numpy()
                one = _compare(face, truth[index], focal, rotation, heads.coefficients[index, -52:].numpy())
                found += [one] if one else []
        yield found


def _compare(
    face: MeasuredFace, truth: FloatArray, focal: float, rotation: FloatArray, expression: NDArray[np.float32]
) -> _Found | None:
    """Compare a found face with the truth (478, 3): pixels and depth in metres."""
    skin = slice(0, SKIN_LANDMARKS)
    depth = truth[skin, 2].mean()
    detected = face.points.astype(np.float64)
    true_points = np.column_stack([truth[:, :2], (truth[:, 2] - depth) * focal / depth])
    across = detected[263, :2] - detected[33, :2]
    eye_distance = float(np.linalg.norm(across))
    cosine, sine = across / eye_distance
    # From the frame of the level picture to the picture's.
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    errors = (detected - true_points) @ turn / eye_distance
    errors[:, 2] -= errors[skin, 2].mean()
    if np.linalg.norm(errors[skin, :2], axis=1).mean() > _LOST:
        return None
    yaw, pitch, _ = head_angles(torch.from_numpy(turn.T @ rotation)[None])
    return _Found(
        errors=errors,
        angles=np.array([float(yaw), float(pitch)]),
        scores=face.scores.astype(np.float64),
        expression=expression.astype(np.float64),
    )


def estimate(samples: Samples) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of `LandmarkErrors`: mean by pose, common errors, what is left."""
    angles = torch.from_numpy(samples.angles)
    features = pose_features(angles[:, 0], angles[:, 1]).numpy()
    flat = samples.errors.reshape(len(features), -1)
    bias = np.linalg.lstsq(features, flat, rcond=None)[0]
    left = flat - features @ bias
    left[:, 3 * SKIN_LANDMARKS + 2 :: 3] = 0
    _, sizes, directions = np.linalg.svd(left / np.sqrt(len(left)), full_matrices=False)
    factor = directions[:_FACTORS].T * sizes[:_FACTORS] * np.sqrt(1 - _SHRINKAGE)
    spread = np.maximum((left**2).mean(0) - (factor**2).sum(1), _SMALLEST)
    spread[3 * SKIN_LANDMARKS + 2 :: 3] = UNKNOWN
    given = np.column_stack([samples.scores, np.ones(len(flat))])
    ridge = np.diag([*np.full(given.shape[1] - 1, _RIDGE / len(flat)), 0.0])
    expression = np.linalg.solve(
        given.T @ given / len(flat) + ridge, given.T @ samples.expression / len(flat)
    )
    missing = samples.expression - given @ expression
    arrays = {
        "bias": bias.reshape(len(bias), *samples.errors.shape[1:]),
        "factor": factor,
        "spread": spread,
        "expression": expression,
        "expression_spread": np.maximum(missing.std(0), 0.02),
    }
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def main() -> int:
    """Run the command; the return value is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--textures", type=Path, help="face textures; procedural skin without")
    parser.add_argument("--out", type=Path, required=True, help="folder for samples and model")
    parser.add_argument("--heads", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    data = load_head_data(arguments.model_dir)
    landmarker = FaceLandmarker(arguments.model_dir / MODEL_FILE)
    arguments.out.mkdir(parents=True, exist_ok=True)
    samples = observe(data, landmarker, arguments.textures, arguments.heads, arguments.seed)
    np.savez_compressed(arguments.out / f"samples_{arguments.seed}.npz", **vars(samples))
    save_file(estimate(samples), str(arguments.out / "landmark_errors.safetensors"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
