"""What `face3d bench hrn` times: calls of ModelScope's pipeline, the same work staged, engines' stages."""

import time
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from face3d.options import JobOptions
from gpu_workers.engines.base import Engine
from gpu_workers.engines.hrn.loading import on_device
from gpu_workers.engines.hrn.stages import FrontReconstruction
from gpu_workers.photo_limits import PhotoLimits

_FRAMES = ("face_shape_transformed_list", "face_norm_roted_list", "face_vertex_list")


def time_call(front: FrontReconstruction, photo: NDArray[np.uint8], *, frames: bool) -> dict[str, float]:
    """Return seconds of ModelScope's own call.

    Args:
        photo: (H, W, 3) sRGB.
        frames: False leaves out what draws its frames and counts its normals.
    """
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


def time_stages(front: FrontReconstruction, photo: NDArray[np.uint8], steps: int) -> dict[str, float]:
    """Return seconds of the front's stages, `steps` of the texture's fit among them."""
    moments = [time.perf_counter()]
    crops = front.crop(photo)
    moments.append(time.perf_counter())
    fitted = front.fit(crops)
    moments.append(time.perf_counter())
    front.colour(crops, fitted, steps)
    moments.append(time.perf_counter())
    spans = np.diff(moments).tolist()
    return dict(zip(("crop", "networks", f"{steps} steps"), spans, strict=True))


def time_engine(engine: Engine, photo: bytes, options: JobOptions) -> dict[str, float]:
    """Return seconds of an engine's stages before packaging."""
    moments = [time.perf_counter()]
    prepared = engine.preprocess(photo, options, PhotoLimits())
    moments.append(time.perf_counter())
    geometry = engine.geometry(prepared, options)
    moments.append(time.perf_counter())
    engine.texture(prepared, geometry, options)
    moments.append(time.perf_counter())
    return dict(zip(("preprocess", "geometry", "texture"), np.diff(moments).tolist(), strict=True))
