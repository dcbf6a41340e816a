"""A head before a camera: any pinhole camera, the photo's own or one that is aimed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from assets.mesh import find_areas_across, find_normals, split_vertices
from assets.tangents import find_tangents
from face3d.head import ARKIT_NAMES, Camera, FloatArray, Head, IndexArray, MeshPart, add_correctives

#: What a portrait looks at, metres: the middle of the head, a little below the eyes.
HEAD_MIDDLE = (0.0, -0.018, -0.08)
#: Distance of the camera from there, metres: a portrait lens, little distortion.
_DISTANCE = 1.28
#: Height there of the visible field, metres.
FIELD = 0.30


def aim_camera(
    size: tuple[int, int],
    *,
    target: tuple[float, float, float] = HEAD_MIDDLE,
    yaw_degrees: float = 0.0,
    pitch_degrees: float = 0.0,
    distance: float = _DISTANCE,
    field: float = FIELD,
) -> Camera:
    """Return a camera that looks at a point of the head, upright; a portrait from the front by default.

    Args:
        size: height, width of the picture in pixels.
        target: the point in its middle, metres.
        yaw_degrees: positive shows more of the person's left side.
        pitch_degrees: positive looks down on the head.
        distance: from the target, metres.
        field: height of what the picture shows at the target, metres.
    """
    yaw, pitch = np.radians(-yaw_degrees), np.radians(pitch_degrees)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    rotation = np.diag([1, -1, -1]) @ tilt @ turn
    focal = size[0] * distance / field
    return Camera(
        focal=(focal, focal),
        centre=(size[1] / 2, size[0] / 2),
        rotation=rotation.astype(np.float32),
        translation=(np.array([0, 0, distance]) - rotation @ np.array(target)).astype(np.float32),
        width=size[1],
        height=size[0],
    )


@dataclass(frozen=True, kw_only=True)
class PosedHead:
    """A head before a camera, all parts in one mesh of N vertices and M triangles.

    Frame: the camera's turned upright: x right, y up, z to the viewer, who is at the origin.
    """

    camera: Camera
    #: (N, 3) metres, expression applied; and unit normals.
    positions: FloatArray
    normals: FloatArray
    #: (N, 3) unit vectors along which u grows.
    tangents: FloatArray
    #: (N, 2) v up.
    uvs: FloatArray
    #: (M, 3)
    triangles: IndexArray
    #: (M,) number of the part that a triangle belongs to, and each part's material.
    owners: IndexArray
    materials: tuple[str, ...]

    @cached_property
    def vertices(self) -> FloatArray:
        """(N, 11) place, normal, tangent, u and v: a vertex's values beside each other in memory."""
        return np.concatenate([self.positions, self.normals, self.tangents, self.uvs], axis=1)

    @cached_property
    def projected(self) -> FloatArray:
        """(N, 3) pixel x, pixel y, depth."""
        depth = -self.positions[:, 2]
        x = self.camera.centre[0] + self.camera.focal[0] * self.positions[:, 0] / depth
        y = self.camera.centre[1] - self.camera.focal[1] * self.positions[:, 1] / depth
        return np.stack([x, y, depth], axis=1).astype(np.float32)


def pose_head(head: Head, camera: Camera, *, weights: FloatArray | None = None) -> PosedHead:
    """Return the head in a pose before a camera: one of `aim_camera`, or the photo's own.

    Args:
        weights: (52,) ARKit weights added to the base shape, with their correctives; none when omitted.
    """
    given = np.zeros(len(ARKIT_NAMES), np.float32) if weights is None else weights
    whole = add_correctives(given, len(head.correctives))
    points, normals, tangents, triangles, owners = [], [], [], [], []
    meshes = [split_vertices(part) for part in head.parts]
    upright = np.array([1, -1, -1], np.float32)
    first = 0
    places = [
        ((_pose(part, whole) @ camera.rotation.T + camera.translation) * upright).astype(np.float32)
        for part in head.parts
    ]
    beyond = find_areas_across(head.parts, places)
    for index, (part, mesh, moved) in enumerate(zip(head.parts, meshes, places, strict=True)):
        smooth = find_normals(moved, part.quads, beyond[index])
        points.append(moved[mesh.vertices])
        normals.append(smooth[mesh.vertices])
        frames = find_tangents(points[-1], normals[-1], mesh.uvs, mesh.triangles)
        tangents.append(frames[:, :3])
        triangles.append(mesh.triangles + first)
        owners.append(np.full(len(mesh.triangles), index, np.int32))
        first += len(mesh.vertices)
    return PosedHead(
        camera=camera,
        positions=np.concatenate(points),
        normals=np.concatenate(normals),
        tangents=np.concatenate(tangents),
        uvs=np.concatenate([mesh.uvs for mesh in meshes]),
        triangles=np.concatenate(triangles),
        owners=np.concatenate(owners),
        materials=tuple(part.material for part in head.parts),
    )


def _pose(part: MeshPart, weights: FloatArray) -> FloatArray:
    if not weights.any():
        return part.positions
    used = np.flatnonzero(weights)
    moved: FloatArray = part.positions + np.tensordot(weights[used], part.morph_deltas[used], axes=1)
    return moved


class Weighted(Protocol):
    """Points on triangles."""

    @property
    def weights(self) -> FloatArray:
        """(P, 3) of the triangles' corners."""


def blend(values: FloatArray, corner: NDArray[np.int32], seen: Weighted) -> FloatArray:
    """Return vertex values (N, C) at points (P,) on triangles with corners (P, 3)."""
    blended: FloatArray = values.take(corner[:, 0], axis=0)
    blended *= seen.weights[:, :1]
    for k in (1, 2):
        part = values.take(corner[:, k], axis=0)
        part *= seen.weights[:, k : k + 1]
        blended += part
    return blended
