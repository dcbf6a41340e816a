"""Sheets of a head's expressions: every key, alone and in combinations, from the front and from its side."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from assets.preview.render import load_texture, render
from assets.preview.scene import aim_camera, pose_head
from assets.threads import ARRAY_THREADS
from face3d.head import ARKIT_NAMES, VISEME_NAMES, FloatArray, Head
from face3d.stage_results import BakedMaps
from face3d.visemes import VISEME_RECIPES, VRM_RECIPES

Picture = NDArray[np.uint8]
Maps = Mapping[str, FloatArray]

#: Pixels a side of a picture, pictures in a row, height of its label.
TILE, COLUMNS, LABEL = 320, 6, 22
_PAPER, _INK = (18, 22, 31), (214, 221, 232)
_SIDE_DEGREES = 45.0
#: From below: what shows the neck's end.
_BELOW_DEGREES = -40.0
_SIDES = ("Left", "Right")

#: Eight combinations that people make; a name without its side stands for both sides.
COMBINATIONS = (
    "jawOpen+mouthSmile",
    "eyeBlink+eyeSquint",
    "mouthClose+jawOpen",
    "mouthSmile+eyeBlink",
    "mouthSmile+cheekSquint",
    "jawOpen+mouthFunnel",
    "browInnerUp+eyeWide",
    "browDown+noseSneer",
)
#: Both eyes in step, open and shut: where a lid may leave the ball.
_GAZES = (
    "eyeLookUp",
    "eyeLookDown",
    "eyeLookOutLeft+eyeLookInRight",
    "eyeLookInLeft+eyeLookOutRight",
    "eyeBlink+eyeLookUp",
    "eyeBlink+eyeLookDown",
    "eyeBlink+eyeLookOutLeft+eyeLookInRight",
)


#: VRM's emotions; its other expressions are visemes, blinks and gazes.
_EMOTIONS = ("happy", "angry", "sad", "relaxed", "surprised")


@dataclass(frozen=True, kw_only=True)
class Framing:
    """What a picture shows of the head."""

    #: The point in its middle, metres in the head's frame.
    target: tuple[float, float, float]
    #: Height of what is seen there, metres.
    field: float
    pitch_degrees: float = 0.0

    def nearer(self, share: float) -> "Framing":
        """Return the same place with a field of that share."""
        return replace(self, field=self.field * share)


_FACE = Framing(target=(0.0, -0.018, -0.01), field=0.215)
_LOWER_FACE = Framing(target=(0.0, -0.052, -0.005), field=0.165)
_EYES = Framing(target=(0.0, 0.008, 0.0), field=0.125)
_LEFT_EYE = Framing(target=(0.032, 0.0, 0.012), field=0.062)
_RIGHT_EYE = Framing(target=(-0.032, 0.0, 0.012), field=0.062)
_MOUTH = Framing(target=(0.0, -0.068, 0.02), field=0.095)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One expression, photographed twice or oftener."""

    label: str
    #: ARKit name to weight.
    weights: Mapping[str, float]
    framing: Framing
    #: Degrees; positive shows more of the person's left side.
    yaws: tuple[float, ...] = (0.0, _SIDE_DEGREES)
    #: A key of its own whose shape is the sum of ARKit shapes: no corrective is added to it.
    is_sum: bool = False


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A named picture of many shots."""

    name: str
    shots: tuple[Shot, ...]


def read_combination(text: str, names: Sequence[str] = ARKIT_NAMES) -> list[str]:
    """Return the ARKit keys that A+B+... names; a name without its side stands for both sides.

    Raises:
        ValueError: there is no such key.
    """
    found: list[str] = []
    for word in text.split("+"):
        keys = [word] if word in names else [word + side for side in _SIDES if word + side in names]
        if not keys:
            raise ValueError(f"{word}: no such key")
        found += keys
    return found


def read_weights(text: str) -> dict[str, float]:
    """Return ARKit key to weight of a viseme, of VRM's expression, or of keys A+B+... at 1.0.

    Raises:
        ValueError: there is no such key.
    """
    recipe = VISEME_RECIPES.get(text, VRM_RECIPES.get(text))
    return dict(recipe) if recipe is not None else dict.fromkeys(read_combination(text), 1.0)


def list_sheets(weight: float = 1.0, only: Sequence[str] = (), *, close: bool = False) -> list[Sheet]:
    """Return the sheets that show every key, or one sheet of the keys and combinations `only`.

    Args:
        weight: of each key.
        only: like `jawOpen`, `mouthSmile` (both sides), `jawOpen+mouthSmile`, `viseme_PP` or `happy`.
        close: eyes and mouth fill the picture, instead of the face.
    Raises:
        ValueError: there is no such key.
    """
    if only:
        shots = [_shoot(text, weight, close) for text in only]
        return [Sheet(name="only", shots=(_neutral(shots[0].framing), *shots))]
    groups = {
        "brows-eyes": [n for n in ARKIT_NAMES if n.startswith(("brow", "eye")) and "Look" not in n],
        "gaze": [*(n for n in ARKIT_NAMES if "Look" in n), *_GAZES],
        "jaw-lips": [n for n in ARKIT_NAMES if n.startswith("jaw") or _is_whole_mouth(n)],
        "mouth-sides": [n for n in ARKIT_NAMES if n.startswith("mouth") and not _is_whole_mouth(n)],
        "cheeks-nose-tongue": [n for n in ARKIT_NAMES if n.startswith(("cheek", "nose", "tongue"))],
        "visemes": list(VISEME_NAMES),
        "combinations": [*COMBINATIONS, *_EMOTIONS],
    }
    sheets = []
    for name, texts in groups.items():
        shots = [_shoot(text, weight, close) for text in texts]
        sheets.append(Sheet(name=name, shots=(_neutral(shots[0].framing), *shots)))
    return [*sheets, Sheet(name="neck", shots=())]


def _is_whole_mouth(name: str) -> bool:
    return name.startswith("mouth") and not name.endswith(_SIDES)


def _neutral(framing: Framing) -> Shot:
    return Shot(label="neutral", weights={}, framing=framing)


def _shoot(text: str, weight: float, close: bool) -> Shot:
    weights = read_weights(text)
    keys = list(weights)
    # A key of the right side is seen from the right.
    turn = -_SIDE_DEGREES if all(key.endswith("Right") for key in keys) else _SIDE_DEGREES
    return Shot(
        label=text if weight == 1 else f"{text} {weight:g}",
        weights={key: weight * share for key, share in weights.items()},
        framing=_frame(keys, close),
        is_sum=text in VISEME_RECIPES,
        yaws=(0.0, turn),
    )


def _frame(keys: Sequence[str], close: bool) -> Framing:
    eyes = all(key.startswith(("eye", "brow")) for key in keys)
    if eyes and len(keys) == 1 and "Look" in keys[0]:
        return _LEFT_EYE if keys[0].endswith("Left") else _RIGHT_EYE
    if eyes:
        return _EYES.nearer(0.75) if close or any("Look" in key for key in keys) else _EYES
    if any(key.startswith(("eye", "brow")) for key in keys):
        return _FACE
    return _MOUTH if close else _LOWER_FACE


def draw_shapes(head: Head, texture: BakedMaps, sheet: Sheet) -> Image.Image:
    """Return the sheet's picture; a sheet without shots shows the neck and what is below it."""
    maps = {material: load_texture(image) for material, image in texture.albedos().items()}
    shots = sheet.shots or _list_neck_shots(head)
    tasks = [(shot, yaw) for shot in shots for yaw in shot.yaws]
    with ThreadPoolExecutor(ARRAY_THREADS) as pool:
        pictures = list(pool.map(lambda task: _render(head, maps, *task), tasks))
    labels = [f"{shot.label}{_name_yaw(yaw)}" for shot, yaw in tasks]
    return lay_out(list(zip(labels, pictures, strict=True)))


def _name_yaw(yaw: float) -> str:
    return "" if yaw == 0 else f", {yaw:g}°"


def _render(head: Head, maps: Maps, shot: Shot, yaw: float) -> Picture:
    camera = aim_camera(
        (TILE, TILE),
        target=shot.framing.target,
        yaw_degrees=yaw,
        pitch_degrees=shot.framing.pitch_degrees,
        field=shot.framing.field,
    )
    shown = _leave_correctives_out(head) if shot.is_sum else head
    return render(pose_head(shown, camera, weights=weigh(shot.weights)), maps)


def _leave_correctives_out(head: Head) -> Head:
    shapes = len(ARKIT_NAMES)
    return replace(
        head, parts=tuple(replace(part, morph_deltas=part.morph_deltas[:shapes]) for part in head.parts)
    )


def weigh(weights: Mapping[str, float]) -> FloatArray:
    """Return (52,) ARKit weights; a key without one stands at zero."""
    return np.array([weights.get(name, 0.0) for name in ARKIT_NAMES], np.float32)


def _list_neck_shots(head: Head) -> tuple[Shot, ...]:
    """Return the head down to its end, from eye level and from below, all around."""
    points = np.concatenate([part.positions for part in head.parts])
    low, high = points.min(0), points.max(0)
    target = tuple(float(value) for value in (low + high) / 2)
    width = float(np.linalg.norm((high - low)[[0, 2]]))
    whole = Framing(
        target=(target[0], target[1], target[2]), field=1.08 * max(float(high[1] - low[1]), width)
    )
    below = replace(whole, pitch_degrees=_BELOW_DEGREES)
    return (
        Shot(label="neutral", weights={}, framing=whole, yaws=(0.0, 45.0, 180.0)),
        Shot(label="from below", weights={}, framing=below, yaws=(0.0, 45.0, 180.0)),
        Shot(label="jawOpen", weights={"jawOpen": 1.0}, framing=whole, yaws=(0.0, 45.0, 90.0)),
        Shot(label="jawOpen, from below", weights={"jawOpen": 1.0}, framing=below, yaws=(0.0, 45.0, 90.0)),
    )


def lay_out(
    tiles: Sequence[tuple[str, Picture]], *, columns: int = COLUMNS, label: int = LABEL, font_size: int = 14
) -> Image.Image:
    """Return labelled square pictures (N, N, 3) of one size in rows of `columns`; lengths in pixels."""
    tile = len(tiles[0][1])
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * tile, rows * (tile + label)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=font_size)
    for index, (text, picture) in enumerate(tiles):
        left, top = index % columns * tile, index // columns * (tile + label)
        sheet.paste(Image.fromarray(picture), (left, top))
        draw.text((left + tile / 2, top + tile + label / 2), text, fill=_INK, font=font, anchor="mm")
    return sheet
