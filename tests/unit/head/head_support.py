"""What the tests of engine `anny` share: the built models, the astronaut, one engine for all."""

import io
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from face3d.messages import StageResult
from face3d.options import JobOptions
from face3d.settings import get_settings
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.head.model.head_template import HEAD_DATA_FILE, HeadData, load_head_data
from gpu_workers.photo_limits import PhotoLimits

DATA = Path(__file__).parents[2] / "data"
LIMITS = PhotoLimits()


def model_dir() -> Path:
    """Return the folder of built models; without one the engine's tests are skipped."""
    folder = get_settings().model_dir
    if not (folder / HEAD_DATA_FILE).is_file():
        pytest.skip(f"no models in FACE3D_MODEL_DIR ({HEAD_DATA_FILE} is built by the set-up)")
    return folder


@lru_cache(maxsize=1)
def head_data() -> HeadData:
    return load_head_data(model_dir())


@lru_cache(maxsize=1)
def engine() -> AnnyEngine:
    return AnnyEngine(model_dir())


@lru_cache(maxsize=1)
def astronaut() -> np.ndarray:
    """(512, 512, 3) uint8: scikit-image's astronaut (NASA, public domain)."""
    import skimage.data

    return skimage.data.astronaut()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def prepared_astronaut() -> StageResult:
    return engine().preprocess(png(astronaut()), JobOptions(), LIMITS)


@lru_cache(maxsize=1)
def astronaut_geometry() -> StageResult:
    return engine().geometry(prepared_astronaut(), JobOptions())


@lru_cache(maxsize=1)
def mediapipe_astronaut() -> dict:
    return json.loads((DATA / "anny_astronaut_mediapipe.json").read_text())
