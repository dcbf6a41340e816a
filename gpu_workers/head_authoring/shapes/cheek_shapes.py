"""The template's smile, cheeks, brows and nose: where muscles take the skin, in millimetres.

MakeHuman's CC0 shapes slide these places along the face; here they also rise, bulge and fold. Each table
names MediaPipe landmarks on the person's left; the other side is the mirror image.
"""

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.mediapipe_landmarks import load_correspondence
from gpu_workers.head_authoring.shapes.muscle_fields import SkinFields

FloatArray = NDArray[np.float64]
#: Landmark to how far it goes: aside, up, forward; mm.
Table = dict[int, tuple[float, float, float]]

#: Metres over which the skin comes to rest: loose at cheeks and forehead, close at the nose.
CHEEK_REACH, _BROW_REACH, _NOSE_REACH = 0.013, 0.014, 0.009


def _rest(*landmarks: int) -> Table:
    return dict.fromkeys(landmarks, (0.0, 0.0, 0.0))


_UPPER_LID = _rest(466, 388, 387, 386, 385, 384, 398, 362)
_LOWER_LID = (249, 390, 373, 374, 380, 381, 382)
_LIDS = {**_UPPER_LID, **_rest(263, *_LOWER_LID)}
#: Bridge, brows, ear and chin, which no cheek moves, and the other corner of the mouth.
_CHEEK_RESTS = {**_UPPER_LID, **_rest(257, 259, 168, 6, 197, 4, 1, 356, 276, 447, 152, 61)}
#: The lower face, which no brow moves.
_BROW_RESTS = {**_LIDS, **_rest(197, 195, 347, 330, 349, 447, 366, 356)}


def _lower_lid(rise: float) -> Table:
    """Return the lower lid's rise, mm in its middle."""
    shares = (0.2, 0.55, 0.9, 1.0, 0.85, 0.5, 0.2)
    return {n: (0.0, rise * s, 0.15 * rise * s) for n, s in zip(_LOWER_LID, shares, strict=True)}


#: Where a smile takes the corner of the mouth: 12.7 mm at 48 degrees, back along the teeth's arch. Measured
#: are 7 to 22 mm at 24 to 55 degrees (Paletz et al., The shape of a normal smile, 1994).
_SMILE_CORNER = (7.6, 8.6, -5.6)
_SMILE: Table = {
    **_CHEEK_RESTS,
    # The wing of the nose is drawn aside a little, the fold beside it stays low ...
    358: (1.4, 0.7, -0.2), 327: (1.0, 0.3, 0), 2: (0, 0, 0),
    423: (2.0, 2.8, -1.2), 426: (3.4, 5.0, -2.2), 436: (6.4, 7.8, -3.6), 432: (7.2, 7.9, -3.6),
    # ... and the cheek bulges over it.
    425: (2.6, 5.4, 4.2), 427: (4.0, 6.8, 3.2), 411: (2.8, 5.2, 4.8), 280: (1.8, 4.6, 5.2),
    330: (1.2, 3.4, 3.6), 347: (0.8, 2.6, 2.8), 352: (1.8, 2.4, 2.6), 416: (3.0, 4.6, 1.6),
    434: (3.0, 5.0, -0.4), 364: (0.8, 2.0, -0.2), 450: (0.3, 1.8, 1.0), 349: (0.4, 1.7, 0.8),
    401: (0.8, 0.6, 0), 435: (0.6, 0.5, 0),
    **_lower_lid(1.5),
    # The chin follows a little.
    18: (0.3, 0.2, -0.2), 200: (0, 0.1, 0), 422: (4.8, 4.6, -2.8), 424: (3.6, 3.0, -2.0),
}  # fmt: skip

#: Buccinator: the corner is drawn straight back over the teeth, and the cheek bunches behind it.
_DIMPLE_CORNER = (5.4, 1.6, -4.2)
_DIMPLE: Table = {
    **_CHEEK_RESTS,
    436: (3.8, 1.5, -1.8), 432: (4.4, 1.5, -1.4), 426: (2.0, 0.9, -0.9), 423: (0.9, 0.4, -0.4),
    427: (2.2, 0.8, 1.2), 425: (0.8, 0.4, 0.4), 411: (1.0, 0.3, 0.8), 416: (1.4, 0.4, 0.8),
    434: (1.8, 0.5, 0.4), 422: (3.8, 1.0, -2.0), 424: (2.8, 0.5, -1.5), 364: (0.4, 0.2, 0),
    358: (0.5, 0.1, -0.1), 18: (0, 0.1, 0), 280: (0.3, 0.2, 0.2),
}  # fmt: skip

#: Risorius and platysma: the corner goes aside and down, the lower lip is drawn flat.
_STRETCH_CORNER = (5.4, -2.8, -3.6)
_STRETCH: Table = {
    **_CHEEK_RESTS,
    436: (3.8, -2.2, -1.4), 432: (4.6, -2.6, -1.6), 426: (2.2, -1.4, -0.7), 423: (1.0, -0.7, -0.2),
    427: (2.2, -1.0, 1.0), 425: (0.8, -0.4, 0.3), 411: (1.1, -0.4, 0.8), 416: (1.7, -0.8, 1.0),
    434: (2.6, -1.4, 0.2), 422: (4.4, -2.8, -2.2), 424: (3.4, -2.4, -1.7), 364: (0.9, -0.7, 0),
    358: (0.5, -0.2, 0), 18: (0, -0.6, -0.2), 200: (0, -0.3, 0), 280: (0.3, -0.1, 0.2),
}  # fmt: skip

#: The whole cheek between cheek-bone and jaw is a balloon; the lips hold.
_PUFF: Table = {
    **_LIDS, **_rest(168, 4, 1, 2, 347, 330, 349, 356, 447, 152, 377),
    416: (11.0, 0.0, 7.0), 434: (6.0, -0.6, 7.4), 435: (11.0, 0, 1.8), 401: (10.6, 0.2, 2.6),
    411: (8.0, 0.6, 6.4), 427: (4.6, 0.2, 6.8), 352: (5.4, 0.2, 2.8), 425: (1.8, 0.6, 3.4),
    280: (1.4, 0.6, 1.6), 432: (1.6, -0.2, 5.2), 436: (1.4, 0.2, 4.8), 426: (0.8, 0.4, 3.4),
    423: (0.4, 0.2, 1.6), 364: (4.0, -0.6, 4.4), 397: (5.6, -0.4, 1.0), 365: (2.2, -0.4, 1.4),
    366: (2.8, 0, 0.6), 422: (0.2, -0.4, 3.4), 424: (0.2, -0.4, 3.0), 18: (0, -0.3, 1.2), 164: (0, 0.2, 1.4),
    391: (0.1, 0.2, 1.8), 358: (0.3, 0.1, 0.5),
}  # fmt: skip
_PUFF_CORNER = (-1.6, 0.0, 1.8)

#: The cheek's mass climbs below the eye and pushes the lower lid up; the mouth hardly knows.
_SQUINT: Table = {
    **_CHEEK_RESTS, **_rest(0, 17, 291, 358, 434, 364),
    450: (0.2, 3.6, 1.2), 349: (0.2, 3.2, 1.0), 347: (0.6, 4.4, 2.4), 330: (0.4, 4.2, 2.2),
    280: (0.6, 4.4, 3.0), 425: (0.4, 3.4, 1.6), 411: (0.6, 3.0, 1.2), 352: (0.4, 2.6, 1.2),
    423: (0.2, 1.2, 0.2), 426: (0.2, 1.2, 0), 427: (0.4, 1.8, 0.4), 416: (0.2, 1.0, 0.2),
    **_lower_lid(2.0),
}  # fmt: skip

#: Down and together; what is pushed together stands out between the brows and over the lids.
_BROW_DOWN: Table = {
    **_BROW_RESTS,
    336: (-2.8, -5.6, 1.4), 285: (-2.8, -5.2, 2.6), 296: (-2.2, -5.8, 1.2), 295: (-2.0, -5.4, 1.4),
    334: (-1.4, -5.4, 0.8), 282: (-1.4, -5.0, 1.0), 293: (-0.8, -4.2, 0.4), 283: (-0.8, -4.2, 0.8),
    300: (-0.3, -2.8, 0.2), 276: (-0.3, -2.8, 0.4),
    9: (0, -2.4, 1.0), 8: (0, -1.7, 1.6), 168: (0, -0.6, 0.6), 417: (-1.0, -2.4, 1.6), 6: (0, 0, 0),
    151: (0, -0.9, 0), 337: (-1.2, -3.2, 0), 299: (-0.8, -3.2, 0), 333: (-0.4, -2.2, 0),
    298: (-0.2, -1.4, 0), 10: (0, -0.2, 0), 338: (-0.2, -0.8, 0), 297: (-0.2, -0.8, 0), 332: (0, -0.5, 0),
    # The fold of the upper lid is pushed down, its edge hardly.
    257: (-0.2, -2.2, 1.2), 258: (-0.3, -2.2, 1.2), 259: (-0.2, -1.6, 0.8), 286: (-0.4, -1.8, 1.2),
}  # fmt: skip

#: Frontalis, its middle: the inner halves rise, and the forehead with them up to the hairline.
_BROW_INNER: Table = {
    **_BROW_RESTS,
    336: (-0.4, 8.6, 0.4), 285: (-0.3, 8.2, 0.4), 296: (-0.2, 7.6, 0.4), 295: (-0.2, 7.0, 0.4),
    334: (0, 4.6, 0.2), 282: (0, 4.2, 0.2), 293: (0, 1.6, 0), 283: (0, 1.4, 0), 300: (0, 0.3, 0),
    276: (0, 0.2, 0),
    9: (0, 7.2, 0.4), 8: (0, 4.4, 0), 168: (0, 1.6, -0.2), 417: (0, 4.4, 0), 6: (0, 0.2, 0),
    151: (0, 6.0, 0.8), 337: (0, 6.4, 0.8), 299: (0, 4.4, 0.6), 333: (0, 1.8, 0.2), 298: (0, 0.5, 0),
    10: (0, 2.6, 0.3), 338: (0, 2.4, 0.3), 297: (0, 1.2, 0), 332: (0, 0.5, 0),
    257: (0, 3.0, -0.2), 258: (0, 3.8, -0.2), 259: (0, 1.2, 0), 286: (0, 3.8, -0.2),
}  # fmt: skip

#: Frontalis, its side: the tail of the brow arches.
_BROW_OUTER: Table = {
    **_BROW_RESTS,
    336: (0, 1.0, 0), 285: (0, 0.8, 0), 296: (0, 3.6, 0.2), 295: (0, 3.2, 0.2), 334: (0.2, 7.4, 0.4),
    282: (0.2, 7.0, 0.4), 293: (0.3, 8.2, 0.3), 283: (0.3, 7.8, 0.3), 300: (0.3, 6.6, 0.2),
    276: (0.3, 5.8, 0.2),
    9: (0, 0.2, 0), 8: (0, 0, 0), 168: (0, 0, 0), 417: (0, 0.2, 0),
    151: (0, 0.6, 0), 337: (0, 2.4, 0.3), 299: (0, 5.2, 0.7), 333: (0.2, 5.6, 0.6), 298: (0.2, 4.6, 0.3),
    10: (0, 0.4, 0), 338: (0, 1.4, 0.1), 297: (0, 2.2, 0.2), 332: (0, 2.0, 0.2), 284: (0, 1.4, 0),
    251: (0.1, 2.0, 0), 389: (0, 0.8, 0),
    257: (0, 1.8, -0.2), 258: (0, 1.2, -0.1), 259: (0, 2.2, -0.2), 286: (0, 0.4, 0),
}  # fmt: skip

#: Levator labii superioris alaeque nasi: wing and lip rise, skin wrinkles beside the bridge.
_SNEER: Table = {
    **_LIDS, **_rest(4, 1, 19, 61, 291, 347, 352, 17, 151, 299, 98),
    358: (0.6, 3.8, -0.4), 327: (0.8, 3.2, -0.4), 278: (0.8, 4.0, -0.2), 344: (0.5, 3.6, 0.4),
    294: (0.8, 3.8, -0.3), 331: (0.6, 3.8, 0), 429: (0.4, 3.4, 0.6), 420: (0.3, 3.0, 1.0),
    437: (0.2, 2.4, 1.4), 343: (0.2, 2.0, 1.2), 399: (0, 1.4, 1.2), 412: (0, 1.2, 1.0), 351: (0, 0.8, 0.6),
    2: (0, 0.6, 0), 423: (0.4, 3.2, 0.4), 426: (0.2, 2.2, 0.2), 425: (0.2, 2.0, 1.2), 330: (0, 1.6, 1.0),
    0: (0, 0.8, 0.2), 267: (0.2, 1.8, 0.2), 269: (0.3, 2.4, 0.2), 270: (0.3, 1.6, 0), 409: (0.1, 0.5, 0),
    13: (0, 0.5, 0.1), 312: (0.1, 1.2, 0.1), 311: (0.2, 1.6, 0.1), 310: (0.2, 1.0, 0), 391: (0.3, 2.8, 0.3),
    285: (-1.0, -1.8, 0.6), 336: (-1.0, -1.6, 0.4), 295: (-0.6, -1.2, 0.2), 9: (0, -0.7, 0.3),
    8: (0, -0.7, 0.4), 168: (0, -0.2, 0.5), 417: (-0.6, -1.2, 0.6), 6: (0, 0.3, 0.5), 197: (0, 0.3, 0.2),
}  # fmt: skip


def shape_cheeks_and_brows(
    actions: FloatArray, fields: SkinFields, landmarks: FloatArray, mirror: NDArray[np.integer]
) -> FloatArray:
    """Return shapes (52, V, 3) of which those of smile, cheeks, brows and nose are made anew.

    Args:
        actions: (52, V, 3) metres, the CC0 shapes; the skin's vertices come first.
        landmarks: (478, 3) metres on the template.
        mirror: (V,) the vertex on the other side.
    """
    smile = {**_SMILE, **draw_lips(landmarks, _SMILE_CORNER, curve=1.7, upper=(1.2, 1.9), lower=(1.2, 0.2))}
    dimple = {
        **_DIMPLE,
        **draw_lips(landmarks, _DIMPLE_CORNER, curve=1.5, upper=(-0.2, -0.2), lower=(0.2, 0.2)),
    }
    stretch = {
        **_STRETCH,
        **draw_lips(landmarks, _STRETCH_CORNER, curve=1.4, upper=(0, 0), lower=(-0.4, -0.4)),
    }
    puff = {
        **_PUFF,
        **draw_lips(landmarks, _PUFF_CORNER, curve=1.0, upper=(-0.5, -0.2), lower=(0.4, 0.2), forward=1.8),
    }
    brows = {"browDownLeft": _BROW_DOWN, "browOuterUpLeft": _BROW_OUTER}
    made = {
        "mouthSmileLeft": fields.spread(smile, CHEEK_REACH),
        "mouthDimpleLeft": fields.spread(dimple, CHEEK_REACH),
        "mouthStretchLeft": fields.spread(stretch, CHEEK_REACH),
        "cheekSquintLeft": fields.spread(_SQUINT, CHEEK_REACH),
        "noseSneerLeft": fields.spread(_SNEER, _NOSE_REACH),
        "cheekPuff": fields.spread(_both_sides(puff), CHEEK_REACH),
        "browInnerUp": fields.slide(fields.spread(_both_sides(_BROW_INNER), _BROW_REACH)),
        **{name: fields.slide(fields.spread(table, _BROW_REACH)) for name, table in brows.items()},
    }
    shapes = actions.copy()
    for name, field in made.items():
        shapes[ARKIT_NAMES.index(name), : len(field)] = field
        if name.endswith("Left"):
            other = ARKIT_NAMES.index(name.removesuffix("Left") + "Right")
            shapes[other, : len(field)] = mirror_field(field, mirror)
    return shapes


def mirror_field(field: FloatArray, mirror: NDArray[np.integer]) -> FloatArray:
    """Return the mirror image (S, 3) of a field (S, 3); mirror (V,) is the vertex on the other side."""
    return np.asarray(field[mirror[: len(field)]] * [-1, 1, 1])


def _both_sides(table: Table) -> Table:
    """Return a table of the left with its mirror image."""
    mirror = load_correspondence().mirror
    return {**{int(mirror[n]): (-x, y, z) for n, (x, y, z) in table.items()}, **table}


#: Upper and lower lip from the midline to the left corner, outer and inner border.
_UPPER_LIP = ((0, 267, 269, 270, 409), (13, 312, 311, 310, 415))
_LOWER_LIP = ((17, 314, 405, 321, 375), (14, 317, 402, 318, 324))
_CORNER = (291, 308)


def draw_lips(
    landmarks: FloatArray,
    corner: tuple[float, float, float],
    *,
    curve: float,
    upper: tuple[float, float],
    lower: tuple[float, float],
    forward: float = 0.0,
) -> Table:
    """Return the left half of the lips as their corner draws them, mm.

    Args:
        corner: how far the corner goes.
        curve: power of the share of the way to the corner by which the lips rise: 1 is a straight line.
        upper, lower: by how much the outer and the inner border rise in the middle.
        forward: how far the middle goes forward.
    """
    table: Table = dict.fromkeys(_CORNER, corner)
    for rises, rows in ((upper, _UPPER_LIP), (lower, _LOWER_LIP)):
        for rise, row in zip(rises, rows, strict=True):
            for number in row:
                share = max(float(landmarks[number, 0] / landmarks[_CORNER[0], 0]), 0.0)
                up, back = share**curve, share**2
                # Near the corner the lips stay together.
                table[number] = (
                    corner[0] * share,
                    corner[1] * up + rise * (1 - back) ** 2,
                    corner[2] * back + forward * (1 - back),
                )
    return table
