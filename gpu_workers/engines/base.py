"""The contract of an engine: three pure stage functions whose results cross as arrays and facts.

Numeric code: knows no Celery, no S3, no database. The stage borders fit a staged ModelScope HRN as well: each
stage gets the results of the stages before it and nothing else.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from face3d.messages import StageResult
from face3d.options import JobOptions
from gpu_workers.photo_limits import PhotoLimits


class Engine(Protocol):
    """A way to reconstruct a head.

    Implementations are built once a process, hold their constant data, and are safe to call from several
    threads. Every method raises RefusedError for bad input and EngineUnavailable when it cannot run here.
    """

    name: str
    version: str

    def warm_up(self) -> None:
        """Load weights and constant data, so that the first job pays for none of it."""

    def licences(self) -> dict[str, str]:
        """Return model or data set name to licence, for the manifest."""

    def preprocess(self, photo: bytes, options: JobOptions, limits: PhotoLimits) -> StageResult:
        """Decode and measure a photo.

        Args:
            photo: the uploaded file's bytes.
        Returns:
            Tensors hold at least `photo` (H, W, 3) uint8 sRGB, upright, longest side at most
            `options.input_size`, and `landmarks` (N, 2 or 3) float32 pixels of `photo`.
        """

    def geometry(self, prepared: StageResult, options: JobOptions) -> StageResult:
        """Fit the head.

        Returns:
            Tensors hold a `face3d.head.Head` (see `head_to_tensors`), with the expression that
            `options.expression` asks for in its positions. Facts hold `scale_from`, `quality` (see
            `face3d.states.Quality`) with `quality_reasons` (see `face3d.quality`), and the coefficients.
        """

    def texture(self, prepared: StageResult, geometry: StageResult, options: JobOptions) -> StageResult:
        """Bake the maps.

        Returns:
            Tensors hold `albedo/<material>` (S, S, 3) uint8 sRGB, row 0 at v = 1, or (S, S, 4) with coverage,
            one for each material of the head that has a map; the skin's S is `options.texture_size`. Facts
            hold `texel_shares` (observed, mirrored, completed) and `texel_density` in px/cm.
        """


@runtime_checkable
class ViewingEngine(Engine, Protocol):
    """An engine that learns from a second photo of the same person."""

    def add_view(
        self, prepared: StageResult, photo: bytes, options: JobOptions, limits: PhotoLimits
    ) -> StageResult:
        """Return what `preprocess` said of the frontal photo, with what a turned one adds to it."""


@runtime_checkable
class BatchingEngine(Engine, Protocol):
    """An engine that fits several heads in one pass: what concurrent jobs on a device share."""

    def geometry_batch(
        self, prepared: Sequence[StageResult], options: Sequence[JobOptions]
    ) -> list[StageResult]:
        """Fit several heads; one result for each photo, in order, equal to what `geometry` gives it alone.

        An error means that the batch failed as a whole: the caller tries its photos one by one.
        """
