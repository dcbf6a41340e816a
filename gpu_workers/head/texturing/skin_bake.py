"""The skin's bake from photo to map: plain calls, or one CUDA graph of the same calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gpu_workers.head.model.posed_head import PosedHead, pack_camera
from gpu_workers.head.ops.image import FacePhoto, linearise
from gpu_workers.head.ops.masked_statistics import masked_quantile, thin_out
from gpu_workers.head.runtime.cuda_graphs import GraphPool
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.runtime.graphed_function import GraphedFunction, Resident
from gpu_workers.head.runtime.triton_support import triton_available
from gpu_workers.head.segmentation.face_masks import FaceMasks
from gpu_workers.head.texturing.composition import compose_skin
from gpu_workers.head.texturing.layers import SkinPaint, paint_skin
from gpu_workers.head.texturing.projection import Projection, project_skin
from gpu_workers.head.texturing.uv_atlas import SkinAtlas

#: Kinds of photo (size, size of the face in it) whose graphs are kept.
_GRAPHS = 12


@dataclass(frozen=True, kw_only=True)
class SkinBake:
    """A baked skin, on the device."""

    #: (S, S, 3) uint8 sRGB.
    albedo: Tensor
    #: (3, H, W) the photo in linear light, sharpened.
    linear: Tensor
    #: (9,) shares observed and mirrored, the photo's density in px/cm, base tone, hair colour.
    measures: Tensor


@dataclass(frozen=True, kw_only=True)
class BakeRequest:
    """What one bake is made of: masks on the device with the photo, and the posed head."""

    #: With the photo, where they were made.
    masks: FaceMasks
    head: PosedHead
    sharpen: bool
    #: Pixels a side of the map.
    size: int


class SkinBaker:
    """Bakes skins; safe to call from several threads."""

    def __init__(self, atlas: SkinAtlas, runtime: DeviceRuntime) -> None:
        self._atlas = atlas
        # Without Triton the composition waits for values, which cannot be captured.
        self._pool = (
            runtime.maps if triton_available(runtime.device) else GraphPool(runtime.device, graphs=False)
        )
        self._bake = GraphedFunction(self._bake_tensors, self._pool, keep=_GRAPHS)
        #: Size to the one map (S, S, 3) that all graphs of that size write to: one runs at a time.
        self._albedo: dict[int, Tensor] = {}

    @contextmanager
    def bake(self, request: BakeRequest) -> Iterator[SkinBake]:
        """Yield the baked skin; its tensors are another bake's once the context ends."""
        masks, head = request.masks, request.head
        numbers = torch.from_numpy(np.append(pack_camera(head.camera), np.array(head.smile, np.float32)))
        constants = masks.reduction, request.sharpen, request.size
        with self._pool.use():
            out = Resident(self._shared_albedo(request.size)) if self._pool.captures else None
            tensors = masks.photo, masks.confidence, masks.skin, head.posed, numbers
            with self._bake.lend(*tensors, *constants, out) as bake:
                yield bake

    def _shared_albedo(self, size: int) -> Tensor:
        if size not in self._albedo:
            self._albedo[size] = torch.empty(size, size, 3, dtype=torch.uint8, device=self._pool.device)
        return self._albedo[size]

    def _bake_tensors(
        self,
        pixels: Tensor,
        confidence: Tensor,
        skin: Tensor,
        posed: Tensor,
        numbers: Tensor,
        reduction: float,
        sharpen: bool,
        size: int,
        out: Tensor | None,
    ) -> SkinBake:
        photo = FacePhoto(
            linear=linearise(pixels, reduction, sharpen=sharpen),
            confidence=confidence[None],
            skin=skin[None],
            reduction=reduction,
        )
        camera, smile = numbers[:-2], numbers[-2:]
        height, width = confidence.shape
        projection = project_skin(posed, camera, self._atlas, (height, width))
        paint = paint_skin(photo, projection, self._atlas, smile)
        return SkinBake(
            albedo=compose_skin(photo.linear, paint.layers, size, out),
            linear=photo.linear,
            measures=_measure(projection, paint),
        )


def _measure(projection: Projection, paint: SkinPaint) -> Tensor:
    seen = thin_out(paint.layers.direct > 0.5)[0]
    # Foreshortening included.
    density = thin_out(projection.scale * projection.cosine.clamp(min=0).sqrt())
    density = torch.where(seen.any(), masked_quantile(density, seen) / 100, 0.0)
    shares = torch.stack([paint.observed, paint.mirrored])
    return torch.cat([shares, density, paint.base_tone, paint.layers.hair])
