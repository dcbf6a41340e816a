"""The table: each photo, how it is made, and what must be said of it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.corpus import drawing, filters
from tests.corpus.bases import Base, made_faces, real_face
from tests.unit.head.head_support import png

#: Faces of `made_faces` by their looks.
FAIR, TANNED, SHORT_HAIRED, DARK, RED = 2, 3, 6, 8, 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """A photo of the corpus."""

    name: str
    #: Makes the file's bytes.
    make: Callable[[], bytes]
    #: `good`, `usable` or `review`, or the code with which the photo is refused.
    verdict: str
    #: Codes of the reasons that it must get.
    reasons: frozenset[str] = frozenset()
    #: Codes that it may get besides.
    besides: frozenset[str] = field(default=frozenset())


def _case(
    name: str,
    base: int | None,
    change: Callable[[Base], Base],
    verdict: str,
    *reasons: str,
    besides: tuple[str, ...] = (),
) -> Case:
    """Return a case made of the astronaut (None) or of a made face, whose own reasons it has too."""
    own = {"small_face"} if base is None else set()
    if "glasses" in reasons:
        besides = (*besides, "landmarks_uncertain")

    def make() -> bytes:
        face = real_face() if base is None else made_faces()[base]
        return png(np.ascontiguousarray(change(face).pixels))

    return Case(
        name=name,
        make=make,
        verdict=verdict,
        reasons=frozenset(reasons),
        besides=frozenset({*own, *besides}),
    )


def _same(base: Base) -> Base:
    return base


def _with(change: Callable[..., Base], *args: object, **options: object) -> Callable[[Base], Base]:
    return lambda base: change(base, *args, **options)


_UNSURE = ("landmarks_uncertain",)
_PARTLY = ("face_partly_covered", *_UNSURE)
_FRAME = ("glasses", "glasses_frame_remains")
_HAIR_SIDE = [(0.12, -0.5), (0.9, -0.5), (0.9, 0.35), (0.12, 0.3)]
_HAT = [(-1.1, -1.6), (1.1, -1.6), (1.1, -0.3), (-1.1, -0.3)]
_WALL = [(0.05, -2.5), (2.5, -2.5), (2.5, 2.5), (0.05, 2.5)]

CASES: tuple[Case, ...] = (
    # Nothing wrong but, with the astronaut, the size.
    _case("astronaut", None, _same, "usable", "small_face"),
    _case("fair", FAIR, _same, "good"),
    _case("tanned", TANNED, _same, "good"),
    _case("short_haired", SHORT_HAIRED, _same, "good"),
    _case("dark", DARK, _same, "good"),
    _case("red", RED, _same, "good"),
    _case("one_stop_dark", TANNED, _with(filters.exposed, -1), "good"),
    _case("warm_light", TANNED, _with(filters.tinted, (1.0, 0.95, 0.85)), "good"),
    # Before the eyes, or shut.
    _case("sunglasses", None, drawing.sunglasses, "review", "eyes_covered", besides=_PARTLY),
    _case("sunglasses_dark_skin", DARK, drawing.sunglasses, "review", "eyes_covered", besides=_UNSURE),
    _case(
        "sunglasses_glint",
        SHORT_HAIRED,
        _with(drawing.sunglasses, glint=True),
        "review",
        "eyes_covered",
        besides=_PARTLY,
    ),
    _case(
        "mirror_lenses",
        TANNED,
        _with(drawing.sunglasses, (110, 135, 160)),
        "review",
        "eyes_covered",
        besides=_PARTLY,
    ),
    _case(
        "brown_lenses",
        None,
        _with(drawing.sunglasses, (70, 40, 25), opacity=0.9),
        "review",
        "eyes_covered",
        besides=_PARTLY,
    ),
    _case("eye_patch", None, drawing.eye_patch, "review", "eye_covered", besides=_UNSURE),
    _case(
        "eye_patch_white",
        SHORT_HAIRED,
        _with(drawing.eye_patch, 1, (235, 235, 230)),
        "review",
        "eye_covered",
        besides=_UNSURE,
    ),
    _case(
        "hand_over_an_eye",
        None,
        _with(drawing.hand, (-0.36, 0.0), 0.5),
        "review",
        "eye_covered",
        besides=_UNSURE,
    ),
    _case(
        "hair_over_an_eye",
        TANNED,
        _with(drawing.block, _HAIR_SIDE, (60, 45, 35)),
        "review",
        "eye_covered",
        besides=_UNSURE,
    ),
    _case("eyes_shut", None, drawing.shut_eyes, "usable", "eyes_shut"),
    _case("eyes_shut_tanned", TANNED, drawing.shut_eyes, "usable", "eyes_shut"),
    _case("one_eye_shut", SHORT_HAIRED, _with(drawing.shut_eyes, (1,)), "usable", "eye_shut"),
    # Spectacles.
    _case("spectacles", None, drawing.spectacles, "review", *_FRAME),
    _case(
        "spectacles_thin",
        TANNED,
        _with(drawing.spectacles, width=0.015),
        "review",
        "glasses",
        besides=_FRAME,
    ),
    _case("spectacles_thick", SHORT_HAIRED, _with(drawing.spectacles, width=0.05), "review", *_FRAME),
    _case("spectacles_red", None, _with(drawing.spectacles, (170, 30, 40)), "review", *_FRAME),
    _case("spectacles_blue", SHORT_HAIRED, _with(drawing.spectacles, (40, 70, 170)), "review", *_FRAME),
    _case("spectacles_gold", None, _with(drawing.spectacles, (190, 150, 70), width=0.018), "review", *_FRAME),
    _case("spectacles_brown", FAIR, _with(drawing.spectacles, (90, 60, 35)), "review", *_FRAME),
    _case("spectacles_white", DARK, _with(drawing.spectacles, (240, 240, 240)), "review", *_FRAME),
    _case(
        "spectacles_clear",
        DARK,
        _with(drawing.spectacles, (215, 220, 225), opacity=0.6),
        "review",
        *_FRAME,
    ),
    _case("spectacles_browline", None, _with(drawing.spectacles, browline=True), "review", *_FRAME),
    _case(
        "spectacles_round",
        TANNED,
        _with(drawing.spectacles, half=(0.22, 0.21), power=2, width=0.02),
        "review",
        "glasses",
        besides=_FRAME,
    ),
    # Before the mouth.
    _case("microphone", None, drawing.microphone, "review", "mouth_covered", besides=_UNSURE),
    _case("microphone_dark", DARK, drawing.microphone, "review", "mouth_covered", besides=_UNSURE),
    _case(
        "hand_over_the_mouth",
        TANNED,
        _with(drawing.hand, (0.0, 0.66)),
        "review",
        "mouth_covered",
        besides=_UNSURE,
    ),
    _case("mask", None, drawing.mask, "face_covered"),
    _case("mask_black", SHORT_HAIRED, _with(drawing.mask, (30, 30, 34)), "face_covered"),
    _case(
        "mask_white",
        FAIR,
        _with(drawing.mask, (225, 225, 225)),
        "review",
        "mouth_covered",
        besides=_PARTLY,
    ),
    _case("tongue_out", None, drawing.tongue, "review", "tongue_out", besides=_UNSURE),
    _case("tongue_out_tanned", TANNED, drawing.tongue, "review", "tongue_out", besides=_UNSURE),
    # Light and colour.
    _case("blown_out", None, _with(filters.exposed, 3), "review", "overexposed", besides=_UNSURE),
    _case("blown_out_tanned", TANNED, _with(filters.exposed, 2.5), "review", "overexposed", besides=_UNSURE),
    _case("dark_photo", None, _with(filters.exposed, -3.8), "review", "underexposed"),
    _case("dark_photo_tanned", TANNED, _with(filters.exposed, -3.8), "review", "underexposed"),
    _case("night", TANNED, _with(filters.exposed, -7), "too_dark"),
    _case("blue_light", None, _with(filters.tinted, (0.45, 0.8, 1.0)), "review", "colour_cast"),
    _case("red_light", TANNED, _with(filters.tinted, (1.0, 0.45, 0.45)), "review", "colour_cast"),
    _case("green_light", SHORT_HAIRED, _with(filters.tinted, (0.55, 1.0, 0.55)), "review", "colour_cast"),
    _case("yellow_light", None, _with(filters.tinted, (1.0, 0.85, 0.3)), "review", "colour_cast"),
    _case("black_and_white", None, filters.grey, "review", "no_colour"),
    _case("black_and_white_dark", DARK, filters.grey, "review", "no_colour"),
    _case(
        "sepia",
        TANNED,
        _with(filters.toned, (1.0, 0.85, 0.62)),
        "review",
        "no_colour",
        besides=("landmarks_uncertain",),
    ),
    _case("sepia_dark", DARK, _with(filters.toned, (1.0, 0.85, 0.62)), "review", "no_colour"),
    _case("faint_sepia", FAIR, _with(filters.toned, (1.0, 0.97, 0.93)), "review", "no_colour"),
    _case("cyanotype", SHORT_HAIRED, _with(filters.toned, (0.8, 0.9, 1.0)), "review", "no_colour"),
    _case("fog", None, _with(filters.flat, 0.14), "review", "low_contrast"),
    _case("soft", None, _with(filters.blurred, 0.025), "usable", "soft_focus", besides=_UNSURE),
    _case(
        "shaken_sideways",
        TANNED,
        _with(filters.shaken, 0.1),
        "usable",
        "soft_focus",
        besides=_UNSURE,
    ),
    _case(
        "shaken_upwards", SHORT_HAIRED, _with(filters.shaken, 0.1, 0), "usable", "soft_focus", besides=_UNSURE
    ),
    _case("blurred", None, _with(filters.blurred, 0.06), "too_blurred"),
    # The picture's edge, hats, turns.
    _case(
        "cut_below_the_nose",
        None,
        _with(filters.cut, bottom=0.62),
        "review",
        "face_cut_off",
        besides=("mouth_covered", *_UNSURE),
    ),
    _case(
        "cut_at_the_chin",
        TANNED,
        _with(filters.cut, bottom=0.92),
        "usable",
        "face_cut_off",
        besides=_UNSURE,
    ),
    _case(
        "cut_at_the_brows",
        None,
        _with(filters.cut, top=-0.2),
        "review",
        "face_cut_off",
        besides=("forehead_covered", *_UNSURE),
    ),
    _case(
        "cut_beside_the_eye",
        TANNED,
        _with(filters.cut_side, -0.45),
        "review",
        "face_cut_off",
        besides=_UNSURE,
    ),
    _case(
        "hat",
        None,
        _with(drawing.block, _HAT, (50, 60, 90)),
        "usable",
        "forehead_covered",
        besides=_PARTLY,
    ),
    _case(
        "hat_tanned",
        TANNED,
        _with(drawing.block, _HAT, (70, 30, 30)),
        "usable",
        "forehead_covered",
        besides=_PARTLY,
    ),
    _case(
        "half_hidden",
        None,
        _with(drawing.block, _WALL, (90, 110, 100)),
        "review",
        "eye_covered",
        "mouth_covered",
        besides=(*_PARTLY, "forehead_covered", "head_turned", "head_tilted"),
    ),
    _case("on_its_side", None, _with(filters.turned, 1), "usable", "photo_turned"),
    _case("on_its_other_side", None, _with(filters.turned, 3), "usable", "photo_turned"),
    _case("upside_down", None, _with(filters.turned, 2), "usable", "photo_turned"),
    _case("upside_down_tanned", TANNED, _with(filters.turned, 2), "good", "photo_turned"),
    _case("on_its_side_dark", DARK, _with(filters.turned, 1), "good", "photo_turned"),
)
