"""preview.png: the photo beside renders of the head, in one row."""

import itertools
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assets.maps import decode_embedded_map
from assets.png import encode_png
from assets.render import FIELD, MIDDLE, Picture, PosedHead, load_texture, pose_head, render_rows
from face3d.head import ARKIT_NAMES, FloatArray, Head

#: Pixels a side of one picture of the row; the second where the photo's head is smaller than that anyway.
TILE, SMALL_TILE = 640, 160
_SMALLEST_HEAD = 100
_MARGIN = 16
_LABEL = 44
_PAPER = (18, 22, 31)
_INK = (214, 221, 232)
#: Maps are decoded at this size at least: about a texel a supersampled pixel on the face.
_MAP_SIDE = 2048
#: Strips of a render that threads share.
_BANDS = 5
_TURN_DEGREES = 30.0
_JAW_OPEN = 0.7


@dataclass(frozen=True, kw_only=True)
class _View:
    label: str
    yaw_degrees: float
    weights: FloatArray | None


def render_preview(photo: Picture, head: Head, textures: Mapping[str, bytes]) -> bytes:
    """Return the preview as PNG bytes: the photo, and the head from the front, turned, neutral, jaw open.

    Args:
        photo: (H, W, 3) uint8, the picture that `head.camera` describes.
        textures: material to JPEG or PNG bytes of its albedo map.
    """
    maps = {
        material: load_texture(decode_embedded_map(data, min_side=_MAP_SIDE))
        for material, data in textures.items()
    }
    box = frame_photo(head)
    tile = TILE if box[2] - box[0] >= _SMALLEST_HEAD else SMALL_TILE

    def pose(view: _View) -> PosedHead:
        return pose_head(head, yaw_degrees=view.yaw_degrees, weights=view.weights)

    def render(job: tuple[PosedHead, tuple[int, int]]) -> Picture:
        return render_rows(job[0], maps, size=(tile, tile), rows=job[1])

    views = _list_views(head)
    bands = list(itertools.pairwise(tile * i // _BANDS for i in range(_BANDS + 1)))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        poses = list(pool.map(pose, views))
        strips = list(pool.map(render, itertools.product(poses, bands)))
    renders = [np.concatenate(strips[i : i + _BANDS]) for i in range(0, len(strips), _BANDS)]
    tiles = [("photo", crop_photo(photo, box, tile))]
    tiles += [(view.label, picture) for view, picture in zip(views, renders, strict=True)]
    return encode_png(_lay_out(tiles, tile))


def _list_views(head: Head) -> list[_View]:
    jaw_open = np.zeros(len(ARKIT_NAMES), np.float32)
    jaw_open[ARKIT_NAMES.index("jawOpen")] = _JAW_OPEN
    turned = _View(label="30°", yaw_degrees=_TURN_DEGREES, weights=None)
    last = _View(label="jawOpen", yaw_degrees=0, weights=jaw_open)
    if head.expression_in_base or not head.expression.any():
        return [_View(label="front", yaw_degrees=0, weights=None), turned, last]
    posed = [
        _View(label="front, as in the photo", yaw_degrees=0, weights=head.expression),
        _View(label="30°, as in the photo", yaw_degrees=_TURN_DEGREES, weights=head.expression),
    ]
    return [*posed, _View(label="neutral", yaw_degrees=0, weights=None), last]


def frame_photo(head: Head) -> tuple[float, float, float, float]:
    """Return the square of the photo that shows what the renders show: left, top, right, bottom in pixels."""
    camera = head.camera
    target = camera.rotation @ np.array([0, MIDDLE, 0], np.float32) + camera.translation
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


def _lay_out(tiles: list[tuple[str, Picture]], side: int) -> Picture:
    width = len(tiles) * (side + _MARGIN) + _MARGIN
    sheet = Image.new("RGB", (width, side + _LABEL + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=22 if side == TILE else 14)
    for index, (label, picture) in enumerate(tiles):
        left = _MARGIN + index * (side + _MARGIN)
        sheet.paste(Image.fromarray(picture), (left, _MARGIN))
        middle = (left + side / 2, _MARGIN + side + _LABEL / 2 + 4)
        draw.text(middle, label, fill=_INK, font=font, anchor="mm")
    return np.asarray(sheet)
