"""The surface maps as a CUDA graph: many small kernels launched as one; `make_surface` is the reference."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from gpu_workers.head.runtime.cuda_graphs import GraphPool
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.runtime.graphed_function import GraphedFunction, Resident
from gpu_workers.head.runtime.triton_support import triton_available
from gpu_workers.head.texturing.detail_maps import SurfaceAtlas, SurfaceMaps, make_surface

#: Skins (their size, where they lie) whose graphs are kept.
_GRAPHS = 4


class SurfaceBaker:
    """Makes the surface maps of baked skins; safe to call from several threads."""

    def __init__(self, atlas: SurfaceAtlas, runtime: DeviceRuntime) -> None:
        self._atlas = atlas
        # Only a skin that a graph baked lies where the next one will.
        pool = runtime.maps if triton_available(runtime.device) else GraphPool(runtime.device, graphs=False)
        self._make = GraphedFunction(self._make_maps, pool, keep=_GRAPHS)

    @contextmanager
    def bake(self, albedo: Tensor, photo_density: Tensor) -> Iterator[SurfaceMaps]:
        """Yield `make_surface`'s maps; they are another skin's once the context ends.

        Args:
            albedo: (S, S, 3) uint8 sRGB; a graph belongs to the memory that it lies in.
            photo_density: () pixels a centimetre of face.
        """
        with self._make.lend(Resident(albedo), photo_density) as maps:
            yield maps

    def _make_maps(self, albedo: Tensor, photo_density: Tensor) -> SurfaceMaps:
        return make_surface(albedo, photo_density, self._atlas)
