"""One photo to one map inside this process: the engine's stages overlapped, no queue, no storage.

The same engine code as the workers run; what is measured here is what a card and its host can do.
"""

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from assets.gltf import write_glb
from assets.jpeg import encode_jpeg
from assets.levels import head_at_level
from assets.maps import encode_embedded_map
from assets.png import encode_filtered_png
from face3d.messages import Array, StageResult
from face3d.options import JobOptions
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.engines.anny.geometry import BegunGeometry
from gpu_workers.engines.anny.texture_transfer import (
    HostBand,
    encode_jpeg_on_device,
    send_filtered_bands,
)
from gpu_workers.engines.base import PhotoLimits

Product = Literal["png", "jpeg", "glb"]
#: Bands of a PNG: several a thread, so that threads end together.
_BANDS = 32


@dataclass(frozen=True, kw_only=True)
class OneShot:
    """A photo's product."""

    #: The map's file, or head.glb.
    data: bytes
    #: Stage to seconds since the photo's bytes were there; cumulative, in order.
    marks: dict[str, float] = field(default_factory=dict)
    #: What the stages found.
    prepared: StageResult
    geometry: StageResult


@dataclass(frozen=True, kw_only=True)
class _Early:
    """What is there before the photo's quality may be."""

    begun: BegunGeometry
    bands: list[HostBand] = field(default_factory=list)
    jpeg: bytes = b""
    maps: Mapping[str, Array] = field(default_factory=dict)


class OneShotReconstructor:
    """Reconstructs photos; safe to call from several threads.

    Args:
        engine: warmed up by the caller.
        threads: threads that deflate bands and make masks; the machine's cores when None.
        baker: an engine on another device that bakes; `engine` itself when None.
        limits: of photos; the defaults when None.
    """

    def __init__(
        self,
        engine: AnnyEngine,
        threads: int | None = None,
        baker: AnnyEngine | None = None,
        limits: PhotoLimits | None = None,
    ) -> None:
        count = threads or len(os.sched_getaffinity(0))
        self._engine, self._baker = engine, baker or engine
        self._encoders = ThreadPoolExecutor(count, "encode")
        self._helpers = ThreadPoolExecutor(count, "masks")
        self._bakers = ThreadPoolExecutor(count, "bake")
        self._limits = limits or PhotoLimits()

    def reconstruct(self, photo: bytes, options: JobOptions, product: Product = "png") -> OneShot:
        """Return a photo's skin map as PNG or JPEG, or its head.glb.

        Raises:
            RefusedError: see `AnnyEngine.preprocess`.
        """
        started = time.perf_counter()
        marks: dict[str, float] = {}

        def mark(name: str) -> None:
            marks[name] = time.perf_counter() - started

        early: list[Future[_Early]] = []

        def begin(found: StageResult) -> None:
            mark("landmarks")
            early.append(self._bakers.submit(self._bake, found, options, product, mark))

        # The face's quality is measured here while the map is being baked; a refused photo's is thrown away.
        prepared = self._engine.preprocess(photo, options, self._limits, begin)
        mark("quality")
        baked = early[0].result()
        geometry = self._engine.geometry(prepared, options, baked.begun)
        if product == "png":
            data = encode_filtered_png(options.texture_size, [b.wait for b in baked.bands], self._encoders)
        elif product == "jpeg":
            data = baked.jpeg
        else:
            images = {name.removeprefix("albedo/"): image for name, image in baked.maps.items()}
            small = self._encoders.map(encode_embedded_map, images.values())
            textures = {"skin": baked.jpeg, **dict(zip(images, small, strict=True))}
            data = write_glb(head_at_level(baked.begun.head, options.lod), textures)
        mark(product)
        return OneShot(data=data, marks=marks, prepared=prepared, geometry=geometry)

    def _bake(
        self, found: StageResult, options: JobOptions, product: Product, mark: Callable[[str], None]
    ) -> _Early:
        masks = self._helpers.submit(self._baker.find_masks, found)
        begun = self._engine.begin_geometry(found, options)
        mark("geometry")
        ready_masks = masks.result()
        mark("masks")
        with self._baker.bake_on_device(found, begun, options, ready_masks) as bake:
            mark("first pixel")
            if product == "png":
                return _Early(begun=begun, bands=send_filtered_bands(bake.skin, _BANDS))
            jpeg = encode_jpeg_on_device(bake.skin) or encode_jpeg(bake.skin.cpu().numpy())
            maps = bake.finish(False).tensors if product == "glb" else {}
            return _Early(begun=begun, jpeg=jpeg, maps=maps)
