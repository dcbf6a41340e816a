"""A small software renderer for previews: any pinhole camera, all maps, soft lights and a soft shadow."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.lights import Shadow, cast_shadow, normalise, shade
from assets.materials import NORMAL, ORM, find_surface
from assets.mesh import find_normals, find_tangents, split_vertices
from assets.raster import Fragments, rasterise
from face3d.head import Camera, FloatArray, Head, IndexArray, MeshPart

Picture = NDArray[np.uint8]

#: Pixels a side that are averaged into one.
_SUPERSAMPLING = 2
#: What a portrait looks at, metres: the middle of the head, a little below the eyes.
HEAD_MIDDLE = (0.0, -0.018, -0.08)
#: Distance of the camera from there, metres: a portrait lens, little distortion.
_DISTANCE = 1.28
#: Height there of the visible field, metres.
FIELD = 0.30
#: A transparent surface that lies on another is not hidden by it: metres.
_COPLANAR = 1e-5
_BACKGROUND_TOP = (0.055, 0.075, 0.115)
_BACKGROUND_BOTTOM = (0.20, 0.225, 0.27)
#: Above this, brightness approaches white instead of reaching it.
_SHOULDER = 0.70


@dataclass(frozen=True, kw_only=True)
class Finish:
    """What is painted besides the solid parts' light and colour."""

    #: Highlights, shadows, normals and occlusion: what a photo's own light does in its albedo already.
    lit: bool = True
    #: Lashes and corneas.
    transparent: bool = True
    #: Linear RGB behind the head; a soft ramp when None.
    background: tuple[float, float, float] | None = None


def load_texture(image: Picture) -> FloatArray:
    """Return an (H, W, 3) sRGB map as linear float32; a fourth channel is coverage, 0..1."""
    steps = np.arange(256) / 255
    table = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4).astype(np.float32)
    linear: FloatArray = table[image]
    linear[..., 3:] = image[..., 3:] / np.float32(255)
    return linear


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


def pose_head(head: Head, camera: Camera, *, weights: FloatArray | None = None) -> PosedHead:
    """Return the head in a pose before a camera: one of `aim_camera`, or the photo's own.

    Args:
        weights: (52,) ARKit weights added to the base shape; none when omitted.
    """
    points, normals, tangents, triangles, owners = [], [], [], [], []
    meshes = [split_vertices(part) for part in head.parts]
    upright = np.array([1, -1, -1], np.float32)
    first = 0
    for index, (part, mesh) in enumerate(zip(head.parts, meshes, strict=True)):
        placed = (_pose(part, weights) @ camera.rotation.T + camera.translation) * upright
        moved = placed.astype(np.float32)
        smooth = find_normals(moved, part.quads)
        points.append(moved[mesh.vertices])
        normals.append(smooth[mesh.vertices])
        tangents.append(find_tangents(points[-1], mesh.uvs, mesh.triangles))
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


def find_shadow(posed: PosedHead) -> Shadow:
    """Return the key light's shadow of what is solid."""
    solid = np.array([not find_surface(material).transparent for material in posed.materials])
    return cast_shadow(posed.positions, posed.triangles[solid[posed.owners]])


def render(posed: PosedHead, textures: Mapping[str, FloatArray], finish: Finish = Finish()) -> Picture:
    """Return the picture, (H, W, 3) uint8 sRGB; see `render_rows`."""
    return render_rows(posed, textures, (0, posed.camera.height), finish)


def render_rows(
    posed: PosedHead,
    textures: Mapping[str, FloatArray],
    rows: tuple[int, int],
    finish: Finish = Finish(),
    shadow: Shadow | None = None,
) -> Picture:
    """Return rows `rows[0]` to `rows[1]` of a picture, (rows, width, 3) uint8 sRGB.

    Args:
        textures: material to linear map (see `load_texture`); a material without one has its surface's tint.
            With `materials.NORMAL` or `materials.ORM` behind it: further maps, values in 0..1.
        shadow: of `find_shadow`, made once for all strips of a picture.
    """
    if shadow is None and finish.lit:
        shadow = find_shadow(posed)
    height, width = posed.camera.height * _SUPERSAMPLING, posed.camera.width * _SUPERSAMPLING
    top, bottom = (row * _SUPERSAMPLING for row in rows)
    picture = _paint_background(height, width, top, bottom, finish)
    points = _project(posed) * np.array([_SUPERSAMPLING, _SUPERSAMPLING, 1], np.float32)
    points[:, 1] -= top
    rows_of = points[posed.triangles, 1]
    reached = (rows_of.min(1) < bottom - top) & (rows_of.max(1) > 0)
    triangles, owners = posed.triangles[reached], posed.owners[reached]
    clear = np.array([find_surface(material).transparent for material in posed.materials])[owners]
    depth = np.full(picture.shape[0] * picture.shape[1], np.inf, np.float32)
    flat = picture.reshape(-1, 3)
    solid = triangles[~clear]
    seen = rasterise(points, solid, *picture.shape[:2])
    depth[seen.pixels] = _blend(points[:, 2:], solid[seen.triangles], seen)[:, 0]
    _paint(flat, posed, textures, _list_hits(seen, solid, owners[~clear]), finish, shadow)
    for material in dict.fromkeys(posed.materials):
        surface = find_surface(material)
        if not surface.transparent or not finish.transparent:
            continue
        own = np.isin(owners, [k for k, name in enumerate(posed.materials) if name == material])
        sheet, parts = triangles[own], owners[own]
        if surface.double_sided:
            # Both sides, each where it faces the camera.
            sheet, parts = np.concatenate([sheet, sheet[:, ::-1]]), np.tile(parts, 2)
        seen = rasterise(points, sheet, *picture.shape[:2])
        hits = _list_hits(seen, sheet, parts)
        nearer = _blend(points[:, 2:], hits.corners, seen)[:, 0] < depth[hits.pixels] + _COPLANAR
        _paint(flat, posed, textures, hits.choose(np.flatnonzero(nearer)), finish, shadow)
    return to_srgb(_shrink(_roll_off(picture) if finish.lit else picture))


@dataclass(frozen=True)
class _Hits:
    """What pixels see: their numbers (P,), triangles' corners (P, 3), weights (P, 3), parts (P,)."""

    pixels: NDArray[np.int64]
    corners: IndexArray
    weights: FloatArray
    parts: IndexArray

    def choose(self, rows: NDArray[np.intp]) -> "_Hits":
        return _Hits(self.pixels[rows], self.corners[rows], self.weights[rows], self.parts[rows])


def _list_hits(seen: Fragments, triangles: IndexArray, owners: IndexArray) -> _Hits:
    return _Hits(seen.pixels, triangles[seen.triangles], seen.weights, owners[seen.triangles])


def _paint(
    flat: FloatArray,
    posed: PosedHead,
    textures: Mapping[str, FloatArray],
    hits: _Hits,
    finish: Finish,
    shadow: Shadow | None,
) -> None:
    """Shade hits into the flattened picture (P, 3), over what is there as far as they are transparent."""
    # Gathered at once: a vertex's values lie beside each other in memory.
    vertices = np.concatenate([posed.positions, posed.normals, posed.tangents, posed.uvs], axis=1)
    place, facing, along, uv = np.split(_blend(vertices, hits.corners, hits), (3, 6, 9), axis=1)
    normalise(facing)
    sunlit = shadow.find_light(place) if shadow is not None else None
    towards = -place
    normalise(towards)
    for index, material in enumerate(posed.materials):
        own = np.flatnonzero(hits.parts == index)
        if not len(own):
            continue
        surface, texture = find_surface(material), textures.get(material)
        tint = np.array(surface.tint, np.float32)
        albedo = np.broadcast_to(tint, (len(own), 4)) if texture is None else _sample(texture, uv[own])
        normal = facing[own]
        if surface.double_sided:
            normal = normal * np.sign(np.einsum("pc,pc->p", normal, towards[own]))[:, None]
        roughness: float | FloatArray = surface.roughness
        open_to_sky = None
        if finish.lit and material + NORMAL in textures:
            normal = _bend(normal, along[own], _pick(textures[material + NORMAL], uv[own]))
        if finish.lit and material + ORM in textures:
            packed = _pick(textures[material + ORM], uv[own])
            open_to_sky, roughness = packed[:, :1], packed[:, 1:2]
        lit = None
        if sunlit is not None and not surface.transparent:
            lit = 1 - surface.shadowed * (1 - sunlit[own])
        matte, highlight = shade(albedo[:, :3], normal, towards[own], roughness, lit, open_to_sky)
        highlight *= np.float32(surface.specular if finish.lit else 0)
        pixels = hits.pixels[own]
        if surface.transparent:
            # A clear surface mirrors no less for being clear.
            coverage = albedo[:, 3:]
            gloss = highlight if texture is None else highlight * coverage
            flat[pixels] = flat[pixels] * (1 - coverage) + matte * coverage + gloss
        else:
            flat[pixels] = matte + highlight


def _bend(normal: FloatArray, tangent: FloatArray, mapped: FloatArray) -> FloatArray:
    """Return unit normals (P, 3) turned as a tangent-space map says, whose colours (P, 3) are 0..1."""
    tangent -= normal * np.einsum("pc,pc->p", normal, tangent)[:, None]
    normalise(tangent)
    slope = mapped * 2 - 1
    bent: FloatArray = normal * slope[:, 2:]
    bent += tangent * slope[:, :1]
    bent += np.cross(normal, tangent) * slope[:, 1:2]
    normalise(bent)
    return bent


def _pose(part: MeshPart, weights: FloatArray | None) -> FloatArray:
    if weights is None or not weights.any():
        return part.positions
    used = np.flatnonzero(weights)
    moved: FloatArray = part.positions + np.tensordot(weights[used], part.morph_deltas[used], axes=1)
    return moved


def _project(posed: PosedHead) -> FloatArray:
    """Return (N, 3) pixel x, pixel y, depth."""
    depth = -posed.positions[:, 2]
    x = posed.camera.centre[0] + posed.camera.focal[0] * posed.positions[:, 0] / depth
    y = posed.camera.centre[1] - posed.camera.focal[1] * posed.positions[:, 1] / depth
    return np.stack([x, y, depth], axis=1).astype(np.float32)


def _blend(values: FloatArray, corner: NDArray[np.int32], seen: "Fragments | _Hits") -> FloatArray:
    blended: FloatArray = values.take(corner[:, 0], axis=0)
    blended *= seen.weights[:, :1]
    for k in (1, 2):
        part = values.take(corner[:, k], axis=0)
        part *= seen.weights[:, k : k + 1]
        blended += part
    return blended


def _sample(texture: FloatArray, uv: FloatArray) -> FloatArray:
    """Return bilinear samples; row 0 of a texture lies at v = 1."""
    height, width = texture.shape[:2]
    x = np.clip(uv[:, 0] * np.float32(width) - np.float32(0.5), 0, width - 1.01)
    y = np.clip((1 - uv[:, 1]) * np.float32(height) - np.float32(0.5), 0, height - 1.01)
    column, row = x.astype(np.int32), y.astype(np.int32)
    fx, fy = (x - column)[:, None].astype(np.float32), (y - row)[:, None].astype(np.float32)
    flat = texture.reshape(-1, texture.shape[2])
    start = row * width + column
    sampled: FloatArray = flat.take(start, axis=0)
    sampled += (flat.take(start + 1, axis=0) - sampled) * fx
    below = flat.take(start + width, axis=0)
    below += (flat.take(start + width + 1, axis=0) - below) * fx
    below -= sampled
    below *= fy
    sampled += below
    return sampled


def _pick(texture: FloatArray, uv: FloatArray) -> FloatArray:
    """Return the nearest texels."""
    height, width = texture.shape[:2]
    column = np.clip(uv[:, 0] * np.float32(width), 0, width - 1).astype(np.int32)
    row = np.clip((1 - uv[:, 1]) * np.float32(height), 0, height - 1).astype(np.int32)
    picked: FloatArray = texture.reshape(-1, texture.shape[2]).take(row * width + column, axis=0)
    return picked


def _roll_off(picture: FloatArray) -> FloatArray:
    """Return the picture without clipped lights, in place."""
    bright = picture > _SHOULDER
    excess = (picture[bright] - _SHOULDER) / (1 - _SHOULDER)
    picture[bright] = _SHOULDER + (1 - _SHOULDER) * (1 - np.exp(-excess))
    return picture


def _paint_background(height: int, width: int, first: int, end: int, finish: Finish) -> FloatArray:
    if finish.background is not None:
        return np.tile(np.array(finish.background, np.float32), (end - first, width, 1))
    ramp = np.linspace(0, 1, height, dtype=np.float32)[first:end, None, None] ** 1.5
    top, bottom = np.array(_BACKGROUND_TOP, np.float32), np.array(_BACKGROUND_BOTTOM, np.float32)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    shade = 1 - 0.25 * x**2
    return np.ascontiguousarray((top + (bottom - top) * ramp) * shade, np.float32)


def _shrink(picture: FloatArray) -> FloatArray:
    height, width = (side // _SUPERSAMPLING for side in picture.shape[:2])
    shrunk = np.zeros((height, width, 3), np.float32)
    # Clipped before it is averaged, so that a highlight's edge does not break into steps.
    clipped = np.minimum(picture, 1)
    for row in range(_SUPERSAMPLING):
        for column in range(_SUPERSAMPLING):
            shrunk += clipped[row::_SUPERSAMPLING, column::_SUPERSAMPLING]
    shrunk *= np.float32(1 / _SUPERSAMPLING**2)
    return shrunk


def to_srgb(linear: FloatArray) -> Picture:
    """Return linear light as 8-bit sRGB (IEC 61966-2-1), clipped."""
    clipped = np.clip(linear, 0, 1)
    encoded = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return (encoded * 255 + 0.5).astype(np.uint8)
