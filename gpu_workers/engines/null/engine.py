"""Engine `null`: every stage returns a constant, made once a process."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from face3d.head import head_to_tensors
from face3d.messages import StageResult
from face3d.options import JobOptions
from face3d.quality import ReasonCode, state
from face3d.states import Quality
from gpu_workers.engines.null.head import PHOTO_SIZE, make_head
from gpu_workers.photo_limits import PhotoLimits

#: Pixels a side of every map, whatever option `texture-size` says.
MAP_SIZE = 64


class NullEngine:
    """The contract of an engine without its work; the photo's contents are never looked at."""

    name = "null"
    version = "1"

    def warm_up(self) -> None:
        """Make the constants."""
        _ = self._prepared, self._heads, self._baked

    def licences(self) -> dict[str, str]:
        """Return nothing: no model and no data set is used."""
        return {}

    def preprocess(self, photo: bytes, options: JobOptions, limits: PhotoLimits) -> StageResult:  # noqa: ARG002
        """Return a grey photo with five landmarks, whatever the bytes are."""
        return self._prepared

    def add_view(
        self,
        prepared: StageResult,
        photo: bytes,  # noqa: ARG002
        options: JobOptions,  # noqa: ARG002
        limits: PhotoLimits,  # noqa: ARG002
    ) -> StageResult:
        """Return what was prepared: a second photo is not looked at either."""
        return prepared

    def geometry(self, prepared: StageResult, options: JobOptions) -> StageResult:  # noqa: ARG002
        """Return the ellipsoid head."""
        return self._heads[options.expression == "photo"]

    def geometry_batch(
        self, prepared: Sequence[StageResult], options: Sequence[JobOptions]
    ) -> list[StageResult]:
        """Return as many ellipsoid heads."""
        return [self.geometry(*pair) for pair in zip(prepared, options, strict=True)]

    def texture(
        self,
        prepared: StageResult,  # noqa: ARG002
        geometry: StageResult,  # noqa: ARG002
        options: JobOptions,  # noqa: ARG002
    ) -> StageResult:
        """Return small maps; facts say their size, which is not the one asked for."""
        return self._baked

    @cached_property
    def _prepared(self) -> StageResult:
        landmarks = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.75], [0.65, 0.75]], np.float32)
        return StageResult(
            tensors={
                "photo": np.full((PHOTO_SIZE, PHOTO_SIZE, 3), 128, np.uint8),
                "landmarks": landmarks * PHOTO_SIZE,
            },
            facts={"width": PHOTO_SIZE, "height": PHOTO_SIZE},
        )

    @cached_property
    def _heads(self) -> tuple[StageResult, StageResult]:
        facts = {
            "scale_from": "template",
            "quality": Quality.REVIEW.value,
            "quality_reasons": [state(ReasonCode.NOTHING_RECONSTRUCTED).facts()],
        }
        # One material: each map is another object to write, and a load test wants few.
        neutral, photo = (make_head(expression_in_base=flag, eye_material="skin") for flag in (False, True))
        return (
            StageResult(tensors=head_to_tensors(neutral), facts=facts),
            StageResult(tensors=head_to_tensors(photo), facts=facts),
        )

    @cached_property
    def _baked(self) -> StageResult:
        ramp = np.linspace(96, 224, MAP_SIZE)
        red, blue = np.meshgrid(ramp, ramp, indexing="ij")
        skin = np.stack([red, np.full_like(red, 160), blue], axis=-1)
        return StageResult(
            tensors={"albedo/skin": skin.astype(np.uint8)},
            facts={
                "texel_shares": {"observed": 0.0, "mirrored": 0.0, "completed": 1.0},
                "texel_density": {"photo": 0.0, "map": 0.0},
                "texture_size": MAP_SIZE,
            },
        )
