"""manifest.json: what an asset is, what it was made from, by what and how well."""

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from assets.skinning import describe_turns, name_joint
from assets.slots import find_slots
from face3d import __version__
from face3d.head import Camera, FloatArray, Head, Joint
from face3d.joint_limits import LIMIT_SOURCES
from face3d.options import JobOptions
from face3d.quality import VERDICTS, QualityReason, ReasonCode, read_reason, verdict_of
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


class SeamEntry(_Document):
    """The open edge of the neck, where a body can be joined on: one loop of the part's vertices."""

    part: str
    #: On the level of detail of `head.glb`; a position counts once.
    vertices: int
    planar: bool
    #: The part whose rim lies on the loop, vertex on vertex.
    closed_by: str


class QualityReport(_Document):
    """The worst verdict of all reasons, and the reasons in a few words each."""

    verdict: Quality
    reasons: list[str]


class ReasonEntry(_Document):
    """One of the reasons, see face3d.quality."""

    code: ReasonCode
    #: For a person.
    message: str
    #: What this reason alone makes of the asset.
    verdict: Quality
    #: What was measured, and the limit that it is beyond.
    value: float | None
    limit: float | None


class SlotEntry(_Document):
    """A material slot: primitive of `head` in this order, or material of its parts' meshes."""

    name: str
    #: What of the head is in it, one after another; with `parts: separate` each is a mesh of that name.
    parts: list[str]
    #: Whose maps it has: `albedo_<maps>`, the skin's `albedo`; slots may share them. None: it has none.
    maps: str | None


class JointEntry(_Document):
    """A joint of the skeleton, see face3d.head.Joint: metres, degrees about x, y, z."""

    #: Of its node.
    name: str
    parent: str | None
    #: At rest, which is the bind pose, in the frame of the head.
    position: tuple[float, float, float]
    limits_degrees: dict[str, tuple[float, float]]
    limits_source: str
    #: ARKit shape to the rotation vector that it stands for at 1.0.
    turns_degrees: dict[str, tuple[float, float, float]]


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
    #: None where an engine's head has none.
    seam: SeamEntry | None = None
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
    #: Names of the keys of every mesh, in order.
    keys: list[str]
    #: Corrective to the two keys whose weights' product is its weight.
    correctives: dict[str, tuple[str, str]]
    #: Viseme to the ARKit shapes, and their weights, that its key is the sum of.
    visemes: dict[str, dict[str, float]]
    #: VRM 1.0's expressions as weights of ARKit shapes.
    vrm_expressions: dict[str, dict[str, float]]
    slots: list[SlotEntry]
    skeleton: list[JointEntry]
    quality: QualityReport
    #: The same reasons as in `quality`, for programs.
    quality_reasons: list[ReasonEntry] = []
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


def describe_slots(head: Head, textured: Collection[str]) -> list[SlotEntry]:
    """Return the entries of a head's slots; `textured` are the materials that have a map."""
    return [
        SlotEntry(
            name=slot.name,
            parts=[part.name for part in slot.parts],
            maps=slot.material if slot.material in textured else None,
        )
        for slot in find_slots(head)
    ]


def describe_skeleton(joints: Iterable[Joint]) -> list[JointEntry]:
    """Return joints' entries."""
    return [
        JointEntry(
            name=name_joint(joint.name),
            parent=name_joint(joint.parent) if joint.parent else None,
            position=_round(joint.position),
            limits_source=LIMIT_SOURCES[joint.name],
            **describe_turns(joint),
        )
        for joint in joints
    ]


def _round(vector: FloatArray) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 7) for value in vector)
    return x, y, z


def collect_reasons(*stages: Mapping[str, Any]) -> list[QualityReason]:
    """Return the reasons that stages state in their facts, each code once, from its worst statement.

    A reason in words only, as engines without a table of reasons may give, is no part of it.
    """
    found: dict[ReasonCode, QualityReason] = {}
    for facts in stages:
        for fact in facts.get("quality_reasons", []):
            if isinstance(fact, str):
                continue
            reason = read_reason(fact)
            before = found.get(reason.code)
            if before is None or verdict_of([before, reason]) is not before.verdict:
                found[reason.code] = reason
    return list(found.values())


def grade(*stages: Mapping[str, Any]) -> Quality:
    """Return the verdict on an asset: that of all reasons, and no better than a stage says itself."""
    stated = [Quality(facts["quality"]) for facts in stages if "quality" in facts]
    if not stated:
        return Quality.REVIEW
    return VERDICTS[max(VERDICTS.index(one) for one in (*stated, verdict_of(collect_reasons(*stages))))]


def list_labels(*stages: Mapping[str, Any]) -> list[str]:
    """Return the reasons in a few words each."""
    plain = [fact for facts in stages for fact in facts.get("quality_reasons", []) if isinstance(fact, str)]
    return [*plain, *(reason.label for reason in collect_reasons(*stages))]


def describe_reasons(reasons: Iterable[QualityReason]) -> list[ReasonEntry]:
    """Return reasons' entries."""
    return [
        ReasonEntry(
            code=reason.code,
            message=reason.message,
            verdict=reason.verdict,
            value=reason.value,
            limit=reason.limit,
        )
        for reason in reasons
    ]


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
