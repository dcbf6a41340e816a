"""Engine `hrn`: ModelScope's face reconstruction behind the contract of gpu_workers/engines/base.py.

The parametric head's stages work beside it: they decode and refuse photos, find the landmarks, and lend
topology, shapes and baking, so that an asset looks the same to its readers whichever engine made the face.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from face3d.messages import Array
from face3d.options import JobOptions
from face3d.quality import ReasonCode, judge
from face3d.stage_results import BakedMaps, FittedHead, NativeFace, PreprocessedPhoto
from face3d.states import Quality
from gpu_workers.engines.hrn.environment import check_environment
from gpu_workers.engines.hrn.front_binding import FrontBinding, bind_front
from gpu_workers.engines.hrn.front_texture import bake_front
from gpu_workers.engines.hrn.loading import load_pipeline
from gpu_workers.engines.hrn.skin_texture import lay_under
from gpu_workers.engines.hrn.stages import FrontReconstruction, HrnPhoto
from gpu_workers.engines.hrn.wrapped_head import DISAGREEMENT, WrappedHead, wrap_head
from gpu_workers.head.model.head_template import HeadData, load_head_data
from gpu_workers.head.rigging.blendshape_transfer import PersonalShapes
from gpu_workers.head.stages.geometry import finish_geometry
from gpu_workers.head.stages.parametric_engine import ParametricEngine
from gpu_workers.photo_limits import PhotoLimits

#: Said wherever a user chooses this engine, and in each of its assets.
LICENCES = {
    "Basel Face Model 2009 (in HRN's assets)": (
        "academic, non-commercial research under an agreement of your own with the University of Basel; "
        "no redistribution"
    ),
    "HRN weights (damo/cv_resnet50_face-reconstruction, v2.0.0-HRN)": (
        "no statement of their own; made from the Basel Face Model"
    ),
    "ModelScope and HRN code": "Apache-2.0",
    "face-alignment and its models": "BSD-3-Clause",
}

#: The pipeline's own number of steps.
TEXTURE_STEPS = 100


@dataclass(frozen=True)
class _Loaded:
    """What a process keeps of the engine."""

    front: FrontReconstruction
    data: HeadData
    shapes: PersonalShapes
    binding: FrontBinding
    triangles: NDArray[np.int32]
    uvs: NDArray[np.float32]


class HrnEngine:
    """ModelScope's `cv_resnet50_face-reconstruction` on CPU or CUDA.

    Args:
        model_dir: folder of engine anny's built data.
        hrn_model_dir: the pipeline's model directory (files.py).
        landmark_model: another face_landmarker_v2.task to use.
        device: `cpu`, `cuda`, `cuda:1`, ...
        texture_steps: of the texture's fit.
    """

    name = "hrn"
    version = "1"
    photo_type = HrnPhoto

    def __init__(
        self,
        model_dir: Path,
        hrn_model_dir: Path,
        landmark_model: Path | None = None,
        device: str = "cpu",
        *,
        texture_steps: int = TEXTURE_STEPS,
    ) -> None:
        self._model_dir, self._hrn_model_dir = model_dir, hrn_model_dir
        self._device = torch.device(device)
        self._steps = texture_steps
        self._head = ParametricEngine(model_dir, landmark_model, device)
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def warm_up(self) -> None:
        """Load weights and constant data, and compile what the pipeline compiles when first used.

        Raises:
            EngineUnavailable: a library, a file or the device is missing, with what to do.
        """
        check_environment()
        self._head.warm_up()
        self._parts()

    def licences(self) -> dict[str, str]:
        """Return data set or model to licence."""
        return {**LICENCES, **self._head.licences()}

    def preprocess(self, photo: bytes, options: JobOptions, limits: PhotoLimits) -> HrnPhoto:
        """Decode and measure a photo, and cut out the pipeline's crops."""
        prepared = self._head.preprocess(photo, options, limits)
        return HrnPhoto(**vars(prepared), crops=self._parts().front.crop(prepared.photo))

    def geometry(self, prepared: PreprocessedPhoto, options: JobOptions) -> FittedHead:
        """Fit the head and lay the model's front onto it.

        Returns:
            With the front as `native_face`, 35709 vertices. Facts as engine anny's, and `front`.
        """
        parts = self._parts()
        fitted = parts.front.fit(_own(prepared).crops)
        neutral_options = options.model_copy(update={"expression": "neutral"})
        begun = self._head.begin_geometry(prepared, neutral_options)
        in_base = options.expression == "photo"
        wrapped = wrap_head(parts.shapes, begun, parts.binding, fitted.neutral, expression_in_base=in_base)
        own = fitted.coefficients[0, 80:144] if in_base else np.zeros(64, np.float32)
        positions = _place(wrapped.placement, parts.front.express(fitted, own))
        result = finish_geometry(prepared, wrapped.begun, parts.data, options)
        front = NativeFace(
            positions=positions,
            triangles=parts.triangles,
            uvs=parts.uvs,
            placement=wrapped.placement,
            fit=fitted,
        )
        return replace(result, native_face=front, facts=_add_facts(dict(result.facts), wrapped))

    def texture(self, prepared: PreprocessedPhoto, geometry: FittedHead, options: JobOptions) -> BakedMaps:
        """Bake engine anny's maps with the fitted texture beneath, and with format `front` the front's own.

        The fitted texture is in the albedo only: the other maps come from engine anny's (skin_texture.py).

        Returns:
            Facts: `texel_shares` has `fitted` besides: of the face, what shows the model's texture. With
            format `front`, the front's albedo, and fact `front_texel_shares`.
        """
        parts = self._parts()
        crops, fitted = _own(prepared).crops, _front(geometry).fit
        texture = parts.front.colour(crops, fitted, self._steps)
        masks = self._head.find_masks(prepared)
        baked = self._head.texture(prepared, geometry, options, masks)
        facts: dict[str, Any] = {**baked.facts, "texture_steps": self._steps, "fit_texels": texture.shape[0]}
        share = 0.0
        # A front beside the face has the background painted on it.
        if geometry.facts["front"]["disagreement_mm"] <= 1e3 * DISAGREEMENT:
            skin = lay_under(
                baked.skin,
                masks,
                geometry.head,
                self._head.map_baker().atlas,
                parts.binding,
                (texture, parts.uvs),
            )
            baked, share = replace(baked, skin=skin.albedo), skin.share
        facts["texel_shares"] = _add_share(facts["texel_shares"], share)
        if "front" in options.formats:
            topology = (parts.triangles, parts.uvs)
            front = bake_front(
                prepared.photo, crops, fitted, texture, topology, options.texture_size, self._device
            )
            baked = replace(baked, front=front.albedo)
            observed = round(front.observed, 4)
            facts["front_texel_shares"] = {"observed": observed, "fitted": round(1 - observed, 4)}
        return replace(baked, facts=facts)

    def express(self, geometry: FittedHead, expression: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the front (35709, 3), metres, head's frame, with another expression (64,)."""
        front = _front(geometry)
        return _place(front.placement, self._parts().front.express(front.fit, expression))

    @property
    def front(self) -> FrontReconstruction:
        """The pipeline's part alone, loaded."""
        return self._parts().front

    @property
    def head(self) -> ParametricEngine:
        """What it lends topology, shapes and baking from."""
        return self._head

    def _parts(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> _Loaded:
        front = FrontReconstruction(load_pipeline(self._hrn_model_dir, self._device), self._device)
        data = load_head_data(self._model_dir)
        triangles = front.faces
        front.warm_up()
        return _Loaded(
            front=front,
            data=data,
            shapes=PersonalShapes(data, torch.device("cpu")),
            binding=bind_front(data, front.mean_shape, triangles, front.keypoints),
            triangles=triangles,
            uvs=front.uvs,
        )


def _own(prepared: PreprocessedPhoto) -> HrnPhoto:
    if not isinstance(prepared, HrnPhoto):
        raise TypeError("another engine prepared this photo")
    return prepared


def _front(geometry: FittedHead) -> NativeFace:
    if geometry.native_face is None:
        raise TypeError("another engine fitted this head")
    return geometry.native_face


def _place(placement: Array, places: Array) -> NDArray[np.float32]:
    return np.asarray(places @ placement[:, :3].T + placement[:, 3], np.float32)


def _add_share(shares: Mapping[str, float], fitted: float) -> dict[str, float]:
    """Return texel shares with that of the fitted texture, which takes the place of completed ones."""
    fitted = min(fitted, shares["completed"])
    return {**shares, "completed": round(shares["completed"] - fitted, 4), "fitted": round(fitted, 4)}


def _add_facts(facts: dict[str, Any], wrapped: WrappedHead) -> dict[str, Any]:
    median, most = wrapped.moved
    facts["front"] = {
        "moved_mm": {"median": round(1e3 * median, 2), "p95": round(1e3 * most, 2)},
        "disagreement_mm": round(1e3 * wrapped.disagreement, 2),
    }
    against = [reason.facts() for reason in judge(ReasonCode.FRONT_DISAGREES, 1e3 * wrapped.disagreement)]
    if against:
        facts["quality"] = Quality.REVIEW.value
        facts["quality_reasons"] = [*facts["quality_reasons"], *against]
    return facts
