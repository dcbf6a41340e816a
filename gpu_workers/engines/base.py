"""The contract of an engine: three pure stage functions; face3d/stage_results.py has what they return.

Numeric code: knows no Celery, no S3, no database. The stage borders fit a staged ModelScope HRN as well: each
stage gets the results of the stages before it and nothing else.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from face3d.options import JobOptions
from face3d.stage_results import BakedMaps, FittedHead, PreprocessedPhoto
from gpu_workers.photo_limits import PhotoLimits


class Engine(Protocol):
    """A way to reconstruct a head.

    Implementations are built once a process, hold their constant data, and are safe to call from several
    threads. Every method raises RefusedError for bad input and EngineUnavailable when it cannot run here.
    """

    name: str
    version: str

    @property
    def photo_type(self) -> type[PreprocessedPhoto]:
        """The class of what `preprocess` returns, and the other stages are given."""

    def warm_up(self) -> None:
        """Load weights and constant data, so that the first job pays for none of it."""

    def licences(self) -> dict[str, str]:
        """Return model or data set name to licence, for the manifest."""

    def preprocess(self, photo: bytes, options: JobOptions, limits: PhotoLimits) -> PreprocessedPhoto:
        """Decode and measure a photo.

        Args:
            photo: the uploaded file's bytes.
        """

    def geometry(self, prepared: PreprocessedPhoto, options: JobOptions) -> FittedHead:
        """Fit the head.

        Returns:
            Facts hold `scale_from`, `quality` (see `face3d.states.Quality`) with `quality_reasons` (see
            `face3d.quality`), and the coefficients.
        """

    def texture(self, prepared: PreprocessedPhoto, geometry: FittedHead, options: JobOptions) -> BakedMaps:
        """Bake the maps.

        Returns:
            A map for each material of the head that has one. Facts hold `texel_shares` (observed, mirrored,
            completed) and `texel_density` in px/cm.
        """


@runtime_checkable
class ViewingEngine(Engine, Protocol):
    """An engine that learns from a second photo of the same person."""

    def add_view(
        self, prepared: PreprocessedPhoto, photo: bytes, options: JobOptions, limits: PhotoLimits
    ) -> PreprocessedPhoto:
        """Return what `preprocess` said of the frontal photo, with the turned one as its `view`."""


@runtime_checkable
class BatchingEngine(Engine, Protocol):
    """An engine that fits several heads in one pass: what concurrent jobs on a device share."""

    def geometry_batch(
        self, prepared: Sequence[PreprocessedPhoto], options: Sequence[JobOptions]
    ) -> list[FittedHead]:
        """Fit several heads; one result for each photo, in order, equal to what `geometry` gives it alone.

        An error means that the batch failed as a whole: the caller tries its photos one by one.
        """
