"""How far each joint of a head turns, and where that is known from."""

from collections.abc import Mapping

_FREE = (-180.0, 180.0)
_EYE = ((-25.0, 25.0), (-35.0, 35.0), (0.0, 0.0))

Limits = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

#: Joint to the least and the most turn about x, y, z, degrees: positive nods, opens, looks down; turns to the
#: person's left; tilts to the person's right.
JOINT_LIMITS: Mapping[str, Limits] = {
    "root": (_FREE, _FREE, _FREE),
    "neck": ((-35.0, 30.0), (-35.0, 35.0), (-35.0, 35.0)),
    "head": ((-25.0, 20.0), (-45.0, 45.0), (-10.0, 10.0)),
    "jaw": ((0.0, 34.0), (-8.0, 8.0), (0.0, 0.0)),
    "eye_left": _EYE,
    "eye_right": _EYE,
}

_NECK_AND_HEAD = (
    "neck and head together 60 back, 50 forward, 80 to a side, 45 over: American Medical Association, Guides "
    "to the evaluation of permanent impairment; the share of the upper two vertebrae: White and Panjabi, "
    "Clinical biomechanics of the spine, 1990"
)
_GAZE = "as far as the lids stay closed on the ball; Face3D's own"

#: Joint to the source of its limits.
LIMIT_SOURCES: Mapping[str, str] = {
    "root": "free",
    "neck": _NECK_AND_HEAD,
    "head": _NECK_AND_HEAD,
    "jaw": (
        "34 degrees at the widest opening of men: Ferrario and others, Quantification of translational and "
        "gliding components in human temporomandibular joint during mouth opening, 2005; aside: 10 mm at the "
        "incisors"
    ),
    "eye_left": _GAZE,
    "eye_right": _GAZE,
}
