"""One photo to one map inside this process: the engine's stages overlapped, no queue, no storage.

The same engine code as the workers run; what is measured here is what a card and its host can do.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from assets.gltf import write_glb
from assets.jpeg import encode_jpeg
from assets.levels import head_at_level
from assets.maps import encode_embedded_map
from assets.png import Piece, PieceStream, join_pieces, stream_filtered_png
from face3d.messages import Array, StageResult
from face3d.options import JobOptions
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.head.runtime.host_transfer import (
    encode_jpeg_on_device,
    send_filtered_bands,
)
from gpu_workers.head.segmentation.face_masks import FaceMasks
from gpu_workers.head.stages.geometry import BegunGeometry
from gpu_workers.head.stages.preprocess import same_look
from gpu_workers.photo_limits import PhotoLimits

Product = Literal["png", "jpeg", "glb"]
Result = TypeVar("Result")
#: Bands of a PNG: several a thread, so that the file's first pieces come early and threads end together.
_BANDS = 64


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


@dataclass(kw_only=True)
class _Started:
    """A photo's work on two threads, begun when its landmarks were known."""

    #: What preprocess handed out early.
    found: StageResult
    options: JobOptions
    product: Product
    #: Notes the moment at which something is there.
    mark: Callable[[str], None]
    masks: Future[FaceMasks] = field(default_factory=Future)
    begun: Future[BegunGeometry] = field(default_factory=Future)
    #: The map's file piece by piece, and the other maps of a head.glb.
    baked: Future[tuple[Iterator[Piece], Mapping[str, Array]]] = field(default_factory=Future)


class OneShotReconstructor:
    """Reconstructs photos; safe to call from several threads.

    Args:
        engine: warmed up by the caller.
        threads: threads that deflate bands; the machine's cores when None.
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

        work, prepared = self._begin(photo, options, product, mark)
        geometry = self._engine.geometry(prepared, options, work.begun.result())
        data = join_pieces(self._finish(work))
        mark(product)
        return OneShot(data=data, marks=marks, prepared=prepared, geometry=geometry)

    def stream(self, photo: bytes, options: JobOptions, product: Product = "png") -> Generator[Piece]:
        """Yield the bytes of what `reconstruct` returns: a PNG's band by band, others in one piece.

        Raises:
            RefusedError: see `AnnyEngine.preprocess`; before the first piece.
        """
        work, _ = self._begin(photo, options, product, lambda _: None)
        yield from self._finish(work)

    def _begin(
        self, photo: bytes, options: JobOptions, product: Product, mark: Callable[[str], None]
    ) -> tuple[_Started, StageResult]:
        """Return a photo's work, which other threads go on with, when the photo is not refused."""
        started_work: list[_Started] = []

        def begin(found: StageResult) -> None:
            mark("landmarks")
            work = _Started(found=found, options=options, product=product, mark=mark)
            started_work.append(work)
            self._bakers.submit(self._fit_and_bake, work)
            # This thread draws masks while the other fits, and measures the face's quality while it bakes.
            _fulfil(work.masks, lambda: self._baker.find_masks(found))

        try:
            prepared = self._engine.preprocess(photo, options, self._limits, begin)
        except BaseException:
            for work in started_work:
                work.baked.add_done_callback(_give_up)
            raise
        mark("quality")
        if not same_look(started_work[0].found, prepared):
            # Eyes or mouth are hidden: the head that was begun on them is of no use.
            started_work[0].baked.add_done_callback(_give_up)
            begin(prepared)
        return started_work[-1], prepared

    def _finish(self, work: _Started) -> Iterator[Piece]:
        pieces, maps = work.baked.result()
        if work.product == "glb":
            pieces = iter([[self._compose(work.begun.result(), work.options, join_pieces(pieces), maps)]])
        return pieces

    def _fit_and_bake(self, work: _Started) -> None:
        _fulfil(work.begun, lambda: self._engine.begin_geometry(work.found, work.options))
        work.mark("geometry")
        _fulfil(work.baked, lambda: self._bake(work))

    def _bake(self, work: _Started) -> tuple[Iterator[Piece], Mapping[str, Array]]:
        begun, masks, product = work.begun.result(), work.masks.result(), work.product
        work.mark("masks")
        maps: Mapping[str, Array] = {}
        with self._baker.bake_on_device(work.found, begun, work.options, masks) as bake:
            work.mark("first pixel")
            if product == "png":
                rows = (band.wait for band in send_filtered_bands(bake.skin, _BANDS))
                size = work.options.texture_size
                return stream_filtered_png(size, size, rows, self._encoders), maps
            jpeg = encode_jpeg_on_device(bake.skin) or encode_jpeg(bake.skin.cpu().numpy())
            if product == "glb":
                maps = bake.finish(False).tensors
        return iter([[jpeg]]), maps

    def _compose(
        self, begun: BegunGeometry, options: JobOptions, skin: bytes, maps: Mapping[str, Array]
    ) -> bytes:
        images = {name.removeprefix("albedo/"): image for name, image in maps.items()}
        small = self._encoders.map(encode_embedded_map, images.values())
        textures = {"skin": skin, **dict(zip(images, small, strict=True))}
        return write_glb(head_at_level(begun.head, options.lod), textures)


def _give_up(baked: Future[tuple[Iterator[Piece], Mapping[str, Array]]]) -> None:
    """Throw a refused photo's map away."""
    if not baked.exception():
        pieces, _ = baked.result()
        if isinstance(pieces, PieceStream):
            pieces.close()


def _fulfil(promise: Future[Result], make: Callable[[], Result]) -> None:
    """Give a promise what is made, or the error."""
    try:
        promise.set_result(make())
    except Exception as error:
        promise.set_exception(error)
