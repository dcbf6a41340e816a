"""preview.png: the photo beside renders of the head, its maps, and what the measurements say."""

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assets.maps import decode_embedded_map
from assets.materials import NORMAL, ORM
from assets.png import encode_png
from assets.preview.lights import Shadow
from assets.preview.render import Picture, find_shadow, load_texture, render_rows
from assets.preview.scene import FIELD, HEAD_MIDDLE, PosedHead, aim_camera, pose_head
from assets.threads import ARRAY_THREADS
from face3d.head import ARKIT_NAMES, FloatArray, Head

#: Pixels a side of a picture of the first row; the second where the photo's head is smaller than that anyway.
TILE, SMALL_TILE = 560, 160
_SMALLEST_HEAD = 100
#: Pictures in the first and in the second row, and shares of a tile: margin, label.
_FIRST, _SECOND = 3, 5
_MARGIN, _LABEL = 0.025, 0.055
_PAPER = (18, 22, 31)
_INK, _FAINT = (214, 221, 232), (134, 145, 163)
#: Maps are decoded at this size at least: about a texel a supersampled pixel on the face.
_MAP_SIDE, _SURFACE_SIDE = 2048, 1024
#: Strips of a render that threads share.
_BANDS = 4
_TURN_DEGREES, _PROFILE_DEGREES = 45.0, 90.0
_MOUTH_OPEN = {"jawOpen": 0.65, "mouthUpperUpLeft": 0.15, "mouthUpperUpRight": 0.15}
_EYES_SHUT = {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}


@dataclass(frozen=True, kw_only=True)
class _View:
    label: str
    side: int
    yaw_degrees: float = 0.0
    weights: FloatArray | None = None


def render_preview(
    photo: Picture, head: Head, textures: Mapping[str, bytes], facts: Sequence[tuple[str, str]] = ()
) -> bytes:
    """Return the preview as PNG bytes.

    Two rows: the photo, the head from the front and turned, as it stands in the photo; then its profile, an
    open mouth, shut eyes, the maps, and the facts.

    Args:
        photo: (H, W, 3) uint8, the picture that `head.camera` describes.
        textures: material to JPEG or PNG bytes of its albedo map; further maps as `write_glb` takes them.
        facts: names and values to print.
    """
    box = frame_photo(head)
    tile = TILE if box[2] - box[0] >= _SMALLEST_HEAD else SMALL_TILE
    small = _find_small(tile)
    views = _list_views(head, tile, small)
    with ThreadPoolExecutor(ARRAY_THREADS) as pool:
        # Begun together: neither needs the other.
        loading = pool.map(_load, textures.items())
        posing = pool.map(lambda view: _pose(head, view), views)
        loaded = dict(zip(textures, loading, strict=True))
        decoded = {name: image for name, (image, _) in loaded.items()}
        maps = {name: values for name, (_, values) in loaded.items()}
        posed = list(posing)
        # Beside the renders, as they need none.
        cropped = pool.submit(crop_photo, photo, box, tile)
        shown = pool.submit(_show_maps, decoded, small)
        written = pool.submit(_write_facts, facts, small)
        strips = pool.map(lambda job: render_rows(job[0], maps, job[2], shadow=job[1]), _list_strips(posed))
        pictures = [np.concatenate(list(itertools.islice(strips, _BANDS))) for _ in views]
    first = [("photo", cropped.result()), *zip((v.label for v in views), pictures, strict=True)]
    rest = [("maps", shown.result()), ("", written.result())]
    return encode_png(_lay_out(first[:_FIRST], [*first[_FIRST:], *rest], tile, small))


def _load(item: tuple[str, bytes]) -> tuple[Picture, FloatArray]:
    """Return a map's picture, and its values as `render_rows` takes them."""
    name, data = item
    if name.endswith((NORMAL, ORM)):
        image = decode_embedded_map(data, min_side=_SURFACE_SIDE)
        return image, image.astype(np.float32) / np.float32(255)
    image = decode_embedded_map(data, min_side=_MAP_SIDE)
    return image, load_texture(image)


def _pose(head: Head, view: _View) -> tuple[PosedHead, Shadow]:
    camera = aim_camera((view.side, view.side), yaw_degrees=view.yaw_degrees)
    posed = pose_head(head, camera, weights=view.weights)
    return posed, find_shadow(posed)


def _list_strips(posed: list[tuple[PosedHead, Shadow]]) -> list[tuple[PosedHead, Shadow, tuple[int, int]]]:
    strips = []
    for one, shadow in posed:
        edges = [one.camera.height * i // _BANDS for i in range(_BANDS + 1)]
        strips += [(one, shadow, rows) for rows in itertools.pairwise(edges)]
    return strips


def _list_views(head: Head, tile: int, small: int) -> list[_View]:
    photographed, note = None, ""
    if not head.expression_in_base and head.expression.any():
        photographed, note = head.expression, ", as in the photo"
    return [
        _View(label="front" + note, side=tile, weights=photographed),
        _View(label="45°" + note, side=tile, yaw_degrees=_TURN_DEGREES, weights=photographed),
        _View(label="profile, neutral" if note else "profile", side=small, yaw_degrees=_PROFILE_DEGREES),
        _View(label="mouth open", side=small, weights=_weigh(_MOUTH_OPEN)),
        _View(label="eyes shut", side=small, weights=_weigh(_EYES_SHUT)),
    ]


def _weigh(shapes: Mapping[str, float]) -> FloatArray:
    return np.array([shapes.get(name, 0.0) for name in ARKIT_NAMES], np.float32)


def frame_photo(head: Head) -> tuple[float, float, float, float]:
    """Return the square of the photo that shows what the renders show: left, top, right, bottom in pixels."""
    camera = head.camera
    target = camera.rotation @ np.array(HEAD_MIDDLE, np.float32) + camera.translation
    x = float(camera.focal[0] * target[0] / target[2] + camera.centre[0])
    y = float(camera.focal[1] * target[1] / target[2] + camera.centre[1])
    half = float(FIELD / 2 * camera.focal[1] / target[2])
    return x - half, y - half, x + half, y + half


def crop_photo(photo: Picture, box: tuple[float, float, float, float], tile: int) -> Picture:
    """Return a square of the photo, (tile, tile, 3); what lies outside the photo has the paper's colour."""
    image = Image.fromarray(photo)
    # `transform` paints black outside; the paper's colour looks less like a hole.
    inside = Image.new("L", image.size, 255).transform((tile, tile), Image.Transform.EXTENT, box)
    reduced = max(1, int((box[2] - box[0]) / tile))
    small = image.reduce(reduced) if reduced > 1 else image
    left, top, right, bottom = (edge / reduced for edge in box)
    crop = small.transform(
        (tile, tile), Image.Transform.EXTENT, (left, top, right, bottom), Image.Resampling.BICUBIC
    )
    paper = Image.new("RGB", (tile, tile), _PAPER)
    paper.paste(crop, mask=inside)
    return np.asarray(paper)


def _show_maps(maps: Mapping[str, Picture], side: int) -> Picture:
    """Return the skin's colour, normals, roughness and occlusion in a square, those that there are."""
    sheet = Image.new("RGB", (side, side), _PAPER)
    gap = max(2, side // 64)
    half = (side - gap) // 2
    packed = maps.get("skin" + ORM)
    shown = [maps.get("skin"), maps.get("skin" + NORMAL)]
    shown += [None, None] if packed is None else [packed[..., 1], packed[..., 0]]
    for number, image in enumerate(shown):
        if image is not None:
            picture = Image.fromarray(np.ascontiguousarray(image))
            small = picture.resize((half, half), Image.Resampling.BOX, reducing_gap=1.5)
            sheet.paste(small, (number % 2 * (half + gap), number // 2 * (half + gap)))
    return np.asarray(sheet)


def _write_facts(facts: Sequence[tuple[str, str]], side: int) -> Picture:
    """Return a square with a line a fact: its name above, faintly, its value below."""
    sheet = Image.new("RGB", (side, side), _PAPER)
    draw = ImageDraw.Draw(sheet)
    name_font, value_font = (_font(size * side) for size in (0.042, 0.058))
    step = side / max(len(facts), 6)
    for number, (name, value) in enumerate(facts):
        draw.text((0.04 * side, number * step), name, fill=_FAINT, font=name_font)
        draw.text((0.04 * side, number * step + 0.05 * side), value, fill=_INK, font=value_font)
    return np.asarray(sheet)


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=max(8.0, size))


def _find_small(tile: int) -> int:
    """Return the side of the second row's pictures, so that both rows are equally wide."""
    margin = round(_MARGIN * tile)
    return (_FIRST * tile - (_SECOND - _FIRST) * margin) // _SECOND


def _lay_out(
    first: list[tuple[str, Picture]], second: list[tuple[str, Picture]], tile: int, small: int
) -> Picture:
    margin, label = round(_MARGIN * tile), round(_LABEL * tile)
    width = _FIRST * tile + (_FIRST + 1) * margin
    sheet = Image.new("RGB", (width, 2 * margin + tile + small + 2 * label), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = _font(0.034 * tile)
    for top, side, row in ((margin, tile, first), (margin + tile + label, small, second)):
        for number, (text, picture) in enumerate(row):
            left = margin + number * (side + margin)
            sheet.paste(Image.fromarray(picture), (left, top))
            draw.text((left + side / 2, top + side + label / 2), text, fill=_INK, font=font, anchor="mm")
    return np.asarray(sheet)
