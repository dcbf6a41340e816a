"""The astronaut's photo (NASA, public domain), a head fitted to it, and random heads."""

import json
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gpu_workers.head.fitting.gauss_newton import Fit, fit_landmarks
from gpu_workers.head.fitting.linear_model import DTYPE, FitBasis
from gpu_workers.head.fitting.observation import NetworkPoints, Observation
from gpu_workers.head.model.head_template import HeadData, load_head_data
from gpu_workers.head.model.mediapipe_landmarks import OUTER_EYE_CORNERS
from gpu_workers.head.rigging.blendshape_transfer import PersonalShapes
from gpu_workers.head.rigging.fitted_head import AssembledHead, FittedPhoto, HeadMaker

DATA = Path(__file__).parents[1] / "data"
CPU = torch.device("cpu")
#: As assumed of a portrait without EXIF: focal length in eye distances.
_FOCAL = 9.0


def model_dir() -> Path:
    """Return the folder of built models."""
    return Path(os.environ["FACE3D_MODEL_DIR"])


@lru_cache(maxsize=1)
def head_data() -> HeadData:
    return load_head_data(model_dir())


@lru_cache(maxsize=1)
def basis() -> FitBasis:
    """The reference fit, on the CPU."""
    return FitBasis(head_data(), CPU)


@lru_cache(maxsize=1)
def maker() -> HeadMaker:
    """The reference assembly, on the CPU."""
    return HeadMaker(PersonalShapes(head_data(), CPU))


@lru_cache(maxsize=1)
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8."""
    return np.array(Image.open(DATA / "astronaut.jpg"))


@lru_cache(maxsize=1)
def landmarks() -> np.ndarray:
    """(478, 3) float32 pixels of the astronaut."""
    found = json.loads((DATA / "anny_astronaut_mediapipe.json").read_text())
    return np.array(found["points"], np.float32)


def observe_astronaut() -> Observation:
    points = torch.from_numpy(landmarks()[None].astype(np.float64))
    right, left = OUTER_EYE_CORNERS
    eyes = float((points[0, right, :2] - points[0, left, :2]).norm())
    return Observation(
        landmarks=points,
        scores=torch.zeros(1, 52, dtype=DTYPE),
        focal=torch.full((1,), _FOCAL * eyes, dtype=DTYPE),
        centre=torch.full((1, 2), 256.0, dtype=DTYPE),
    )


def with_network(seen: Observation, spread: float = 2.0) -> Observation:
    """Return the observation with a network's points beside: those of the heads, a little off."""
    vertices = len(basis().base)
    points = torch.zeros(len(seen.landmarks), vertices, 3, dtype=DTYPE)
    points[:, : seen.landmarks.shape[1]] = seen.landmarks + spread * torch.sin(seen.landmarks)
    precision = torch.zeros_like(points)
    precision[:, :400] = 0.2
    random = torch.Generator().manual_seed(4)
    loadings = 0.1 * torch.randn(len(points), 3 * vertices, 6, dtype=DTYPE, generator=random)
    network = NetworkPoints(points=points, precision=precision, loadings=loadings)
    return Observation(**{**vars(seen), "network": network})


def as_fitted(fit: Fit, row: int, seen: Observation) -> FittedPhoto:
    """Return one photo of a fit as the assembly takes it."""
    points = seen.landmarks[row].numpy()
    right, left = OUTER_EYE_CORNERS
    eyes = float(np.linalg.norm(points[right, :2] - points[left, :2]))
    return FittedPhoto(
        coefficients=fit.coefficients[row].numpy(),
        rotation=fit.pose.rotation[row].numpy(),
        translation=fit.pose.translation[row].numpy(),
        points=fit.points[row].numpy(),
        landmarks=points - eyes * fit.bias[row].numpy(),
        detected=points,
        focal=float(seen.focal[row]),
        centre=(float(seen.centre[row, 0]), float(seen.centre[row, 1])),
        width=512,
        height=512,
    )


@lru_cache(maxsize=1)
def fitted_astronaut() -> FittedPhoto:
    seen = observe_astronaut()
    return as_fitted(fit_landmarks(basis(), seen), 0, seen)


@lru_cache(maxsize=1)
def assembled_astronaut() -> AssembledHead:
    """The astronaut's head, made on the CPU."""
    return maker().make(fitted_astronaut(), expression_in_base=False)
