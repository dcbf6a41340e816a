"""A small software renderer for previews: any pinhole camera, all maps, soft lights and a soft shadow."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.materials import NORMAL, ORM, find_surface
from assets.preview.lights import Shadow, cast_shadow, normalise, shade
from assets.preview.raster import Fragments, rasterise
from assets.preview.scene import PosedHead, blend
from face3d import srgb
from face3d.head import FloatArray, IndexArray

Picture = NDArray[np.uint8]

#: Hits that are shaded at a time: what they need stays in a core's cache.
_CHUNK = 32_768
#: Rows of a texture that are made linear at a time.
_TEXTURE_ROWS = 8
#: Pixels a side that are averaged into one.
_SUPERSAMPLING = 2
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
    table = srgb.decode(np.arange(256) / 255).astype(np.float32)
    linear = np.empty(image.shape, np.float32)
    # A few rows at a time: numpy widens the indices, which then stay in a core's cache.
    for start in range(0, len(image), _TEXTURE_ROWS):
        rows = slice(start, start + _TEXTURE_ROWS)
        table.take(image[rows], out=linear[rows], mode="clip")
    linear[..., 3:] = image[..., 3:] / np.float32(255)
    return linear


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
    points = posed.projected * np.array([_SUPERSAMPLING, _SUPERSAMPLING, 1], np.float32)
    points[:, 1] -= top
    first, second, third = points[:, 1].take(posed.triangles.T)
    reached = np.minimum(np.minimum(first, second), third) < bottom - top
    reached &= np.maximum(np.maximum(first, second), third) > 0
    triangles, owners = posed.triangles[reached], posed.owners[reached]
    clear = np.array([find_surface(material).transparent for material in posed.materials])[owners]
    depth = np.full(picture.shape[0] * picture.shape[1], np.inf, np.float32)
    flat = picture.reshape(-1, 3)
    solid = triangles[~clear]
    seen = rasterise(points, solid, *picture.shape[:2])
    depth[seen.pixels] = blend(points[:, 2:], solid[seen.triangles], seen)[:, 0]
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
        nearer = blend(points[:, 2:], hits.corners, seen)[:, 0] < depth[hits.pixels] + _COPLANAR
        _paint(flat, posed, textures, hits.choose(np.flatnonzero(nearer)), finish, shadow)
    return to_srgb(_shrink(_roll_off(picture) if finish.lit else picture))


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a camera sees of a head, without light; H, W pixels."""

    #: (H, W) number of the part of `materials` that a pixel shows, -1 where it shows none.
    part: IndexArray
    materials: tuple[str, ...]
    #: (H, W, 3) linear.
    albedo: FloatArray
    #: (H, W, 3) unit vectors, x right, y up, z to the viewer.
    normals: FloatArray


def survey(posed: PosedHead, textures: Mapping[str, FloatArray]) -> Survey:
    """Return what each pixel's middle shows; transparent parts hide what lies behind them.

    Args:
        textures: as `render_rows` takes them.
    """
    height, width = posed.camera.height, posed.camera.width
    seen = rasterise(posed.projected, posed.triangles, height, width)
    hits = _list_hits(seen, posed.triangles, posed.owners)
    uv, facing = blend(posed.uvs, hits.corners, hits).T, blend(posed.normals, hits.corners, hits)
    normalise(facing.T)
    part = np.full(height * width, -1, np.int32)
    albedo, normals = (np.zeros((height * width, 3), np.float32) for _ in range(2))
    part[hits.pixels], normals[hits.pixels] = hits.parts, facing
    for index, material in enumerate(posed.materials):
        own = np.flatnonzero(hits.parts == index)
        texture, tint = textures.get(material), find_surface(material).tint[:3]
        albedo[hits.pixels[own]] = tint if texture is None else _sample(texture, uv[:, own])[:3].T
    return Survey(
        part=part.reshape(height, width),
        materials=posed.materials,
        albedo=albedo.reshape(height, width, 3),
        normals=normals.reshape(height, width, 3),
    )


@dataclass(frozen=True)
class _Hits:
    """What pixels see: their numbers (P,), triangles' corners (P, 3), weights (P, 3), parts (P,)."""

    pixels: NDArray[np.int64]
    corners: IndexArray
    weights: FloatArray
    parts: IndexArray

    def choose(self, rows: NDArray[np.intp] | slice) -> "_Hits":
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
    # Parts of one material are painted together: few long rows are faster than many short ones.
    names = list(dict.fromkeys(posed.materials))
    kinds = np.array([names.index(material) for material in posed.materials], np.int32).take(hits.parts)
    for start in range(0, len(hits.pixels), _CHUNK):
        rows = slice(start, start + _CHUNK)
        chunk, kind = hits.choose(rows), kinds[rows]
        # From here on a plane a coordinate, (3, P): numpy works on rows of three many times slower.
        planes = np.ascontiguousarray(blend(posed.vertices, chunk.corners, chunk).T)
        normalise(planes[3:6])
        sunlit = shadow.find_light(planes[:3]) if shadow is not None else None
        for index, material in enumerate(names):
            own = np.flatnonzero(kind == index)
            if len(own):
                light = sunlit.take(own) if sunlit is not None else None
                _paint_part(
                    flat, chunk.pixels.take(own), planes.take(own, axis=1), light, textures, material, finish
                )


def _paint_part(
    flat: FloatArray,
    pixels: NDArray[np.int64],
    planes: FloatArray,
    sunlit: FloatArray | None,
    textures: Mapping[str, FloatArray],
    material: str,
    finish: Finish,
) -> None:
    """Shade the hits of one material.

    Args:
        planes: (11, P) place, unit normal and tangent, x, y and z each; u and v.
        sunlit: (P,) share of the key light that arrives.
    """
    towards, normal, along, uv = -planes[:3], planes[3:6], planes[6:9], planes[9:]
    normalise(towards)
    surface, texture = find_surface(material), textures.get(material)
    tint = np.array(surface.tint, np.float32)[:, None]
    albedo = np.broadcast_to(tint, (4, len(pixels))) if texture is None else _sample(texture, uv)
    if surface.double_sided:
        normal = normal * np.sign(_inner(normal, towards))
    roughness: float | FloatArray = surface.roughness
    open_to_sky = None
    if finish.lit and material + NORMAL in textures:
        normal = _bend(normal, along, _pick(textures[material + NORMAL], uv))
    if finish.lit and material + ORM in textures:
        open_to_sky, roughness, _ = _pick(textures[material + ORM], uv)
    lit = None
    if sunlit is not None and not surface.transparent:
        lit = 1 - np.float32(surface.shadowed) * (1 - sunlit)
    matte, highlight = shade(albedo[:3], normal, towards, roughness, lit, open_to_sky)
    highlight *= np.float32(surface.specular if finish.lit else 0)
    if surface.transparent:
        # A clear surface mirrors no less for being clear; one without a map hides nothing: a cornea.
        coverage = np.zeros(len(pixels), np.float32) if texture is None else albedo[3]
        gloss = highlight if texture is None else highlight * coverage
        flat[pixels] = (flat[pixels].T * (1 - coverage) + matte * coverage + gloss).T
    else:
        matte += highlight
        flat[pixels] = matte.T


def _inner(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the inner products (P,) of vectors (3, P)."""
    product: FloatArray = first[0] * second[0]
    product += first[1] * second[1]
    product += first[2] * second[2]
    return product


def _bend(normal: FloatArray, tangent: FloatArray, mapped: FloatArray) -> FloatArray:
    """Return unit normals (3, P) turned as a tangent-space map says, whose colours (3, P) are 0..1."""
    tangent -= normal * _inner(normal, tangent)
    normalise(tangent)
    slope = mapped * 2 - 1
    bent: FloatArray = normal * slope[2]
    bent += tangent * slope[0]
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        bent[k] += (normal[i] * tangent[j] - normal[j] * tangent[i]) * slope[1]
    normalise(bent)
    return bent


def _sample(texture: FloatArray, uv: FloatArray) -> FloatArray:
    """Return bilinear samples (C, P) at uv (2, P); row 0 of a texture lies at v = 1."""
    height, width = texture.shape[:2]
    x = np.clip(uv[0] * np.float32(width) - np.float32(0.5), 0, width - 1.01)
    y = np.clip((1 - uv[1]) * np.float32(height) - np.float32(0.5), 0, height - 1.01)
    column, row = x.astype(np.int32), y.astype(np.int32)
    fx, fy = (x - column).astype(np.float32), (y - row).astype(np.float32)
    flat = texture.reshape(-1, texture.shape[2])
    start = row * width + column

    def gather(offset: int) -> FloatArray:
        return np.ascontiguousarray(flat.take(start + offset, axis=0).T)

    sampled = gather(0)
    sampled += (gather(1) - sampled) * fx
    below = gather(width)
    below += (gather(width + 1) - below) * fx
    below -= sampled
    below *= fy
    sampled += below
    return sampled


def _pick(texture: FloatArray, uv: FloatArray) -> FloatArray:
    """Return the nearest texels (C, P) at uv (2, P)."""
    height, width = texture.shape[:2]
    column = np.clip(uv[0] * np.float32(width), 0, width - 1).astype(np.int32)
    row = np.clip((1 - uv[1]) * np.float32(height), 0, height - 1).astype(np.int32)
    texels = texture.reshape(-1, texture.shape[2]).take(row * width + column, axis=0)
    return np.ascontiguousarray(texels.T)


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
    column = top + (bottom - top) * ramp
    picture = np.empty((end - first, width, 3), np.float32)
    for channel in range(3):
        np.multiply(column[..., channel], shade[..., 0], out=picture[..., channel])
    return picture


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
    return (srgb.encode(np.clip(linear, 0, 1)) * 255 + 0.5).astype(np.uint8)
