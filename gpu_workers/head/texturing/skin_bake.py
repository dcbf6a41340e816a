"""The skin's bake from photo to map: plain calls, or one CUDA graph of the same calls."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from gpu_workers.head.model.posed_head import PosedHead, pack_camera
from gpu_workers.head.ops import triton_kernels
from gpu_workers.head.ops.image import FacePhoto, linearise
from gpu_workers.head.ops.masked_statistics import masked_quantile, thin_out
from gpu_workers.head.runtime.cuda_graphs import MAPS, CapturedCall
from gpu_workers.head.segmentation.face_masks import FaceMasks
from gpu_workers.head.texturing.composition import compose_skin
from gpu_workers.head.texturing.layers import SkinPaint, paint_skin
from gpu_workers.head.texturing.projection import Projection, project_skin
from gpu_workers.head.texturing.uv_atlas import SkinAtlas

#: Kinds of photo (size, size of the face in it) whose graphs are kept.
_GRAPHS = 12
#: Numbers of `pack_camera`, and one.
_CAMERA_AND_SMILE = 19


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

    @property
    def kind(self) -> tuple[object, ...]:
        """Return what decides the shapes and constants of the bake."""
        masks = self.masks
        return (masks.photo.shape, masks.confidence.shape, masks.reduction, self.sharpen, self.size)


@contextmanager
def bake_skin(request: BakeRequest, atlas: SkinAtlas, *, graphs: bool = True) -> Iterator[SkinBake]:
    """Yield the baked skin; its tensors are another bake's once the context ends.

    Args:
        graphs: use a CUDA graph where the device can.
    """
    device = atlas.triangles.device
    if not (graphs and triton_kernels.available(device)):
        inputs = _Inputs(request, atlas)
        inputs.fill(request)
        yield inputs.bake()
        return
    with MAPS.lock, torch.cuda.device(device):
        yield _cache.find(request, atlas)(request)


class _Inputs:
    """Tensors that a bake reads, of fixed shapes."""

    def __init__(self, request: BakeRequest, atlas: SkinAtlas, albedo: Tensor | None = None) -> None:
        device = atlas.triangles.device
        height, width = request.masks.confidence.shape
        self._atlas = atlas
        self._reduction, self._sharpen, self._size = request.masks.reduction, request.sharpen, request.size
        self._albedo = albedo
        self.photo = torch.empty(request.masks.photo.shape, dtype=torch.uint8, device=device)
        self.masks = torch.empty(2, height, width, device=device)
        self.shape = torch.empty(request.head.posed.numel() + _CAMERA_AND_SMILE, device=device)

    def fill(self, request: BakeRequest) -> None:
        """Copy a photo of the same kind in."""
        head = request.head
        self.shape[:-_CAMERA_AND_SMILE].copy_(head.posed.view(-1))
        rest = np.append(pack_camera(head.camera), np.float32(head.smile))
        self.shape[-_CAMERA_AND_SMILE:].copy_(torch.from_numpy(rest))
        masks = request.masks
        for tensor in (masks.photo, masks.confidence, masks.skin, head.posed):
            if tensor.is_cuda and tensor.device == self.photo.device:
                # Made on another stream, which must not use their memory again before this one has read it.
                tensor.record_stream(torch.cuda.current_stream())
        self.photo.copy_(request.masks.photo)
        self.masks.copy_(torch.stack([request.masks.confidence, request.masks.skin]))

    def bake(self) -> SkinBake:
        """Run the bake."""
        photo = FacePhoto(
            linear=linearise(self.photo, self._reduction, sharpen=self._sharpen),
            confidence=self.masks[:1],
            skin=self.masks[1:],
            reduction=self._reduction,
        )
        height, width = self.masks.shape[1:]
        vertices, camera, smile = (
            self.shape[:-_CAMERA_AND_SMILE].view(-1, 3),
            self.shape[-_CAMERA_AND_SMILE:-1],
            self.shape[-1],
        )
        projection = project_skin(vertices, camera, self._atlas, (height, width))
        paint = paint_skin(photo, projection, self._atlas, smile)
        return SkinBake(
            albedo=compose_skin(photo.linear, paint.layers, self._size, self._albedo),
            linear=photo.linear,
            measures=_measure(projection, paint),
        )


class _Graph:
    """A captured bake of one kind of photo."""

    def __init__(self, request: BakeRequest, atlas: SkinAtlas) -> None:
        device = atlas.triangles.device
        self._inputs = _Inputs(request, atlas, _shared_albedo(request.size, device))
        self._inputs.fill(request)
        self._captured = CapturedCall(self._inputs.bake, device, MAPS)

    def __call__(self, request: BakeRequest) -> SkinBake:
        self._inputs.fill(request)
        return self._captured.replay()


class _Cache:
    """Captured bakes by kind, least used dropped."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[tuple[object, ...], tuple[SkinAtlas, _Graph]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, request: BakeRequest, atlas: SkinAtlas) -> _Graph:
        key = (id(atlas), *request.kind)
        with self._lock:
            if key not in self._graphs:
                # The entry keeps the atlas alive, so that its id is not given to another object.
                self._graphs[key] = (atlas, _Graph(request, atlas))
                while len(self._graphs) > _GRAPHS:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(key)
            return self._graphs[key][1]


_cache = _Cache()


@cache
def _shared_albedo(size: int, device: torch.device) -> Tensor:
    """Return the one map that all graphs of a size write to: one runs at a time."""
    return torch.empty(size, size, 3, dtype=torch.uint8, device=device)


def _measure(projection: Projection, paint: SkinPaint) -> Tensor:
    seen = thin_out(paint.layers.direct > 0.5)[0]
    # Foreshortening included.
    density = thin_out(projection.scale * projection.cosine.clamp(min=0).sqrt())
    density = torch.where(seen.any(), masked_quantile(density, seen) / 100, 0.0)
    shares = torch.stack([paint.observed, paint.mirrored])
    return torch.cat([shares, density, paint.base_tone, paint.layers.hair])
