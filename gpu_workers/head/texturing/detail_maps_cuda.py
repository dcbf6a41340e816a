"""The surface maps as a CUDA graph: many small kernels launched as one; `make_surface` is the plain twin."""

import threading
from collections import OrderedDict

import torch
from torch import Tensor

from gpu_workers.head.ops import triton_kernels
from gpu_workers.head.runtime.cuda_graphs import MAPS, CapturedCall
from gpu_workers.head.texturing.detail_maps import SurfaceAtlas, SurfaceMaps, make_surface

#: Maps (their size, where they lie) whose graphs are kept.
_GRAPHS = 4


def bake_surface(
    albedo: Tensor, photo_density: Tensor, atlas: SurfaceAtlas, *, graphs: bool = True
) -> SurfaceMaps:
    """Return `make_surface`'s maps; hold `MAPS.lock` as long as they are read.

    Args:
        albedo: (S, S, 3) uint8 sRGB; a graph belongs to the memory that it lies in.
        photo_density: () pixels a centimetre of face.
        graphs: use a CUDA graph where the device can.
    """
    if not (graphs and triton_kernels.available(albedo.device)):
        return make_surface(albedo, photo_density, atlas)
    with MAPS.lock, torch.cuda.device(albedo.device):
        return _cache.find(albedo, atlas)(photo_density)


class _Graph:
    """Captured maps of one skin's memory, which it keeps."""

    def __init__(self, albedo: Tensor, atlas: SurfaceAtlas) -> None:
        self._albedo, self._atlas = albedo, atlas
        self._density = torch.ones((), device=albedo.device)
        self._captured = CapturedCall(self._make, albedo.device, MAPS)

    def __call__(self, photo_density: Tensor) -> SurfaceMaps:
        self._density.copy_(photo_density)
        return self._captured.replay()

    def _make(self) -> SurfaceMaps:
        return make_surface(self._albedo, self._density, self._atlas)


class _Cache:
    """Captured maps, least used dropped."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[tuple[int, int, int], _Graph] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, albedo: Tensor, atlas: SurfaceAtlas) -> _Graph:
        # Atlas and memory are kept by the graph, so that neither name is given to another.
        key = (id(atlas), albedo.data_ptr(), albedo.shape[0])
        with self._lock:
            if key not in self._graphs:
                self._graphs[key] = _Graph(albedo, atlas)
                while len(self._graphs) > _GRAPHS:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(key)
            return self._graphs[key]


_cache = _Cache()
