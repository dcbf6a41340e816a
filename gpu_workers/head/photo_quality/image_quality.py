"""What a face in a photo must be like; every refusal carries the measured value and the limit.

The thresholds were set on sharp portraits and on blurred, darkened and covered versions of them, with a
margin to all normal ones (portraits down to 40 pixels between the eyes, JPEG quality 30, a twentieth of the
light).
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from face3d.errors import ErrorCode, RefusedError
from face3d.quality import tell_apart
from gpu_workers.head.landmarks.face_detection import MeasuredFace
from gpu_workers.head.photo_quality.face_patch import CLIPPED, LUMA, PATCH_EYES, PATCH_SIDE, FacePatch
from gpu_workers.head.runtime.cuda_graphs import graph_constant
from gpu_workers.photo_limits import PhotoLimits

#: Ratio of fine to coarse contrast of the face; falls from 0.3-0.47 (sharp) to 0.1 (blurred by 5 % of the eye
#: distance).
MIN_SHARPNESS = 0.105
#: Median brightness of the face, sRGB 0..255.
MIN_BRIGHTNESS = 28.0
#: Mean distance between the landmarks of the photo and of its mirror image, share of the eye distance.
MAX_DISAGREEMENT = 0.030
#: Share of the face whose colour is not skin's.
MAX_COVERED = 0.33
#: How sure the landmark model is that there is a face, 0 to 1.
MIN_PRESENCE = 0.5

#: Of its blurs whose differences are fine and coarse contrast; so far inside the face they are measured.
_SHARPNESS_SIGMAS, _EDGE = (0.8, 1.6, 3.2, 6.4), 6
#: Sharpness across is less than this part of that along only where the photo was shaken: 0.6 on sharp faces.
_SHAKEN = 0.5
#: Pixels round eyes, brows and mouth that are not measured.
_FEATURE_MARGIN = 3
#: Less of the face than this share that is not blown out does not tell what covers it.
_LEAST_COLOURED = 0.5
#: Distance in CIE ab from the face's own median at which a colour is no longer skin's.
_SKIN_CHROMA = 22.0
#: Landmarks of cheeks, nose's bridge and forehead's middle; radius round each, in eye distances.
_CENTRAL, _CENTRAL_RADIUS = (50, 280, 6, 151, 205, 425), 0.08


@dataclass(frozen=True, kw_only=True)
class FaceQuality:
    """Measurements of one face."""

    #: Outer-eye distance in pixels of the original photo.
    eye_distance_px: float
    #: Degrees; positive: turned to the person's left, looking up, leaning clockwise on the screen.
    yaw: float
    pitch: float
    roll: float
    #: See the limits above.
    sharpness: float
    brightness: float
    covered: float
    disagreement: float
    presence: float

    def facts(self) -> dict[str, float]:
        """Return the measurements for the manifest."""
        return {name: round(float(value), 4) for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class _Check:
    """One measurement of `FaceQuality` that may refuse a photo."""

    measure: str
    code: ErrorCode
    message: str
    limit: float
    below: bool = True
    digits: int = 3


def _checks(min_eye_distance: float, max_disagreement: float) -> tuple[_Check, ...]:
    return (
        _Check(
            measure="eye_distance_px",
            code=ErrorCode.FACE_TOO_SMALL,
            message="The face is too small in the photo: too few pixels between the outer corners of the "
            "eyes.",
            limit=min_eye_distance,
            digits=1,
        ),
        _Check(
            measure="brightness",
            code=ErrorCode.TOO_DARK,
            message="The face is too dark (median brightness of 0 to 255).",
            limit=MIN_BRIGHTNESS,
            digits=1,
        ),
        _Check(
            measure="sharpness",
            code=ErrorCode.TOO_BLURRED,
            message="The face is blurred (ratio of fine to coarse contrast).",
            limit=MIN_SHARPNESS,
        ),
        _Check(
            measure="covered",
            code=ErrorCode.FACE_COVERED,
            message="A large part of the face is covered (share of it that has not the skin's colour).",
            limit=MAX_COVERED,
            below=False,
        ),
        _Check(
            measure="disagreement",
            code=ErrorCode.LANDMARKS_UNCERTAIN,
            message="The face cannot be read reliably: its points come out elsewhere in the mirrored photo "
            "(mean distance, share of the eye distance).",
            limit=max_disagreement,
            below=False,
        ),
        _Check(
            measure="presence",
            code=ErrorCode.FACE_UNCLEAR,
            message="It is not clear that there is a face where one seems to be (certainty of 0 to 1).",
            limit=MIN_PRESENCE,
        ),
    )


def measure_quality(
    patch: FacePatch, face: MeasuredFace, angles: tuple[float, float, float], original_scale: float
) -> FaceQuality:
    """Measure a face.

    Args:
        patch: of the face, see `cut_patch`.
        angles: yaw, pitch, roll in degrees.
        original_scale: pixels of the original photo to pixels of the photo that the landmarks belong to.
    """
    return FaceQuality(
        eye_distance_px=face.eye_distance * original_scale,
        yaw=angles[0],
        pitch=angles[1],
        roll=angles[2],
        sharpness=_sharpness(patch),
        brightness=float(np.median(patch.luma[patch.oval])) if patch.oval.any() else 0.0,
        covered=_covered_share(patch),
        disagreement=face.disagreement,
        presence=face.presence,
    )


def refuse_bad_face(
    quality: FaceQuality, limits: PhotoLimits, *, max_disagreement: float = MAX_DISAGREEMENT
) -> None:
    """Refuse a face that no good head can be made of.

    Raises:
        RefusedError: face_too_small, face_turned_away, too_dark, too_blurred, face_covered,
            landmarks_uncertain or face_unclear; the value is never equal to the limit.
    """
    for name, angle, limit in (
        ("yaw", quality.yaw, limits.max_yaw_degrees),
        ("pitch", quality.pitch, limits.max_pitch_degrees),
    ):
        if abs(angle) > limit:
            raise RefusedError(
                ErrorCode.FACE_TURNED_AWAY,
                "The face does not look into the camera.",
                value=f"{name} {_plain(tell_apart(angle, math.copysign(limit, angle), 0))} degrees",
                limit=f"{name} {_plain(limit)} degrees",
            )
    for check in _checks(limits.min_eye_distance_px, max_disagreement):
        value = float(getattr(quality, check.measure))
        if value < check.limit if check.below else value > check.limit:
            raise RefusedError(
                check.code,
                check.message,
                value=tell_apart(value, check.limit, check.digits),
                limit=check.limit,
            )


def _plain(number: float) -> str:
    """Return a number with all of its digits, and none that it does not have."""
    return repr(float(number)).removesuffix(".0")


def refuse_dark_photo(photo: NDArray[np.uint8]) -> None:
    """Refuse a photo in which no face was found because next to nothing can be seen.

    Raises:
        RefusedError: too_dark.
    """
    brightness = float(np.percentile(_luma(photo[::4, ::4]), 90))
    if brightness < MIN_BRIGHTNESS:
        raise RefusedError(
            ErrorCode.TOO_DARK,
            "The photo is too dark to find a face (brightness of its lightest tenth, of 0 to 255).",
            value=tell_apart(brightness, MIN_BRIGHTNESS, 1),
            limit=MIN_BRIGHTNESS,
        )


def _luma(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(pixels.astype(np.float32) @ np.array(LUMA, np.float32))


def _sharpness(patch: FacePatch) -> float:
    down, across = patch.box
    # Taxicab distance: what N erosions by a cross leave.
    inside = (
        ndimage.distance_transform_cdt(np.pad(patch.oval[down, across], 1), "taxicab")[1:-1, 1:-1] > _EDGE
    )
    if not inside.any():
        return 0.0
    # In torch, also on a CPU: NumPy's threads would spin while others compress.
    pixels = patch.on_device
    luma = pixels.float() @ torch.tensor(LUMA, device=pixels.device)
    blurs = _blurs(pixels.device)
    rows, columns = [blur[down] @ luma for blur in blurs], [luma @ blur[across].T for blur in blurs]
    both = [row @ blur[across].T for row, blur in zip(rows, blurs, strict=True)]
    ways = (both, [row[:, across] for row in rows], [column[down] for column in columns])
    differences = [level[first] - level[first + 1] for level in ways for first in (0, 2)]
    squares = np.square(torch.stack(differences).cpu().numpy()) * inside
    contrasts = np.sqrt(squares.sum((1, 2)) / inside.sum()).reshape(3, 2)
    whole, *single = (contrasts[:, 0] / np.maximum(contrasts[:, 1], 1e-3)).tolist()
    # A hand that shakes blurs one direction only; the other keeps its edges.
    return float(min(single) if min(single) < _SHAKEN * max(single) else whole)


def _covered_share(patch: FacePatch) -> float:
    """Return the share of the face (not eyes, brows, mouth) whose colour is far from the face's median."""
    box = patch.box
    features = ndimage.distance_transform_cdt(~patch.features[box], "taxicab") <= _FEATURE_MARGIN
    skin = patch.oval[box] & ~features
    if not skin.any():
        return 1.0
    # What is blown out has no colour left and may well be skin; where most of it is, the rest tells nothing.
    whole = skin.sum()
    skin &= patch.pixels[box].max(2) < CLIPPED
    if skin.sum() < _LEAST_COLOURED * whole:
        return 0.0
    chroma = patch.lab[box][skin][:, 1:]
    origin = np.array([box[1].start, box[0].start])
    middle = np.median(_central(patch.points - origin, chroma, skin), axis=0)
    return float((np.hypot(*(chroma - middle).T) > _SKIN_CHROMA).mean())


@graph_constant(maxsize=4)
def _blurs(device: torch.device) -> list[Tensor]:
    """Return what blurs the rows or columns of the patch, at four widths an octave apart: Gaussians."""
    identity = np.eye(PATCH_SIDE, dtype=np.float32)
    made = [ndimage.gaussian_filter1d(identity, sigma, axis=0) for sigma in _SHARPNESS_SIGMAS]
    return [torch.from_numpy(matrix).to(device) for matrix in made]


def _central(
    points: NDArray[np.floating], chroma: NDArray[np.float32], skin: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the colours of the cheeks, the nose's bridge and the forehead's middle."""
    rows, columns = np.nonzero(skin)
    chosen = np.zeros(len(rows), bool)
    for x, y in points[list(_CENTRAL)]:
        chosen |= (columns - x) ** 2 + (rows - y) ** 2 < (_CENTRAL_RADIUS * PATCH_EYES) ** 2
    return chroma[chosen] if chosen.any() else chroma
