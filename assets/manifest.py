"""manifest.json: what an asset is, what it was made from, by what and how well."""

import hashlib
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from face3d import __version__
from face3d.head import Camera
from face3d.options import JobOptions
from face3d.states import Quality


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Document):
    """One file of the asset."""

    bytes: int
    sha256: str


class Source(_Document):
    """The photo: where it lay, never a URL or a credential."""

    bucket: str
    key: str
    etag: str
    bytes: int | None = None


class EngineEntry(_Document):
    """What reconstructed the head."""

    name: str
    version: str
    #: Model or data set to licence.
    licences: dict[str, str]


class StageEntry(_Document):
    """How one stage ran; packaging's own time is known to the jobs API only."""

    name: str
    seconds: float
    device: str
    gpu_type: str | None = None


class CameraEntry(_Document):
    """See face3d.head.Camera: pixels of the preprocessed photo, metres."""

    focal: tuple[float, float]
    centre: tuple[float, float]
    rotation: list[list[float]]
    translation: list[float]
    width: int
    height: int


class QualityReport(_Document):
    """What the geometry stage thinks of its own work."""

    verdict: Quality
    reasons: list[str]


class Manifest(_Document):
    """The whole document."""

    format: Literal["face3d-asset/1"] = "face3d-asset/1"
    generator: str = Field(default_factory=lambda: f"Face3D {__version__}")
    job: str
    created: datetime
    source: Source
    options: dict[str, Any]
    engine: EngineEntry
    stages: list[StageEntry]
    files: dict[str, FileEntry]
    frame: str = "metres, x to the person's left, y up, z out of the face, origin midway between the eyeballs"
    scale_from: str
    camera: CameraEntry
    #: (N, 2 or 3) pixels of the preprocessed photo.
    landmarks: list[list[float]]
    #: Names as the engine gives them.
    identity: dict[str, Any]
    #: ARKit name to weight 0..1 in the photo.
    expression: dict[str, float]
    expression_in_base: bool
    texel_shares: dict[str, float]
    #: Pixels a centimetre of the face: of the photo, and of the map.
    texel_density: dict[str, float]
    quality: QualityReport
    #: What else the stages measured, by stage.
    facts: dict[str, dict[str, Any]]


def describe_file(data: bytes) -> FileEntry:
    """Return a file's entry."""
    return FileEntry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def describe_camera(camera: Camera) -> CameraEntry:
    """Return a camera's entry."""
    return CameraEntry(
        focal=camera.focal,
        centre=camera.centre,
        rotation=[[round(float(x), 7) for x in row] for row in camera.rotation],
        translation=[round(float(x), 7) for x in camera.translation],
        width=camera.width,
        height=camera.height,
    )


def dump_options(options: JobOptions) -> dict[str, Any]:
    """Return the options under the names that callers use."""
    return options.model_dump(mode="json", by_alias=True)


def make_finite(value: Any) -> Any:
    """Return a JSON-able value in which nothing is NaN or infinite: strict readers refuse those."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): make_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [make_finite(item) for item in value]
    return value
