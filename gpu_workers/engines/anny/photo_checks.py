"""What a face in a photo must be like; every refusal carries the measured value and the limit.

The thresholds were set on sharp portraits and on blurred, darkened and covered versions of them, with a
margin to all normal ones (portraits down to 40 pixels between the eyes, JPEG quality 30, a twentieth of the
light).
"""

from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw
from scipy import ndimage
from torch import Tensor

from face3d.errors import ErrorCode, RefusedError
from gpu_workers.engines.anny.correspondence import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_LIDS,
    RIGHT_BROW,
    RIGHT_LIDS,
)
from gpu_workers.engines.anny.face_crop import Photo
from gpu_workers.engines.anny.face_search import MeasuredFace, cut_square
from gpu_workers.engines.base import PhotoLimits

#: Ratio of fine to coarse contrast of the face; falls from 0.3-0.47 (sharp) to 0.1 (blurred by 5 % of the eye
#: distance).
MIN_SHARPNESS = 0.105
#: Median brightness of the face, sRGB 0..255.
MIN_BRIGHTNESS = 28.0
#: Mean distance between the landmarks of the photo and of its mirror image, share of the eye distance.
MAX_DISAGREEMENT = 0.022
#: Share of the face whose colour is not skin's.
MAX_COVERED = 0.33
MIN_PRESENCE = 0.5

#: Eye distance of the patch that is measured, and its side, pixels.
_PATCH_EYES = 96.0
_PATCH_SIDE = 224
#: Luminance of sRGB codes, as Pillow weighs them.
_LUMA = (0.299, 0.587, 0.114)
#: Of its blurs whose differences are fine and coarse contrast; so far inside the face they are measured.
_SHARPNESS_SIGMAS, _EDGE = (0.8, 1.6, 3.2, 6.4), 6
#: Pixels round eyes, brows and mouth that are not measured.
_FEATURE_MARGIN = 3
#: Distance in CIE ab from the face's own median at which a colour is no longer skin's.
_SKIN_CHROMA = 22.0


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


def measure_quality(
    photo: Photo, face: MeasuredFace, angles: tuple[float, float, float], original_scale: float
) -> FaceQuality:
    """Measure a face.

    Args:
        photo: (H, W, 3) uint8 sRGB that the landmarks belong to.
        angles: yaw, pitch, roll in degrees.
        original_scale: pixels of the original photo to pixels of `photo`.
    """
    eyes = float(np.linalg.norm(face.points[33, :2] - face.points[263, :2]))
    half = 0.5 * _PATCH_SIDE / _PATCH_EYES * eyes
    centre = face.points[:468, :2].mean(0).astype(np.float64)
    cut = cut_square(photo, centre, half, _PATCH_SIDE)
    on_device = cut if isinstance(cut, Tensor) else torch.from_numpy(np.array(cut))
    patch = on_device.cpu().numpy()
    points = (face.points[:, :2] - (centre - half)) * (_PATCH_SIDE / (2 * half))
    oval = _polygon(points, FACE_OVAL)
    return FaceQuality(
        eye_distance_px=eyes * original_scale,
        yaw=angles[0],
        pitch=angles[1],
        roll=angles[2],
        sharpness=_sharpness(on_device, oval),
        brightness=float(np.median(_luma(patch)[oval])),
        covered=_covered_share(patch, points, oval),
        disagreement=face.disagreement,
        presence=face.presence,
    )


def refuse_bad_face(
    quality: FaceQuality, limits: PhotoLimits, *, max_disagreement: float = MAX_DISAGREEMENT
) -> None:
    """Refuse a face that no good head can be made of.

    Raises:
        RefusedError: face_too_small, face_turned_away, too_dark, too_blurred or face_covered.
    """
    if quality.eye_distance_px < limits.min_eye_distance_px:
        raise RefusedError(
            ErrorCode.FACE_TOO_SMALL,
            "The face is too small in the photo: too few pixels between the outer corners of the eyes.",
            value=round(quality.eye_distance_px, 1),
            limit=limits.min_eye_distance_px,
        )
    for name, angle, limit in (
        ("yaw", quality.yaw, limits.max_yaw_degrees),
        ("pitch", quality.pitch, limits.max_pitch_degrees),
    ):
        if abs(angle) > limit:
            raise RefusedError(
                ErrorCode.FACE_TURNED_AWAY,
                "The face does not look into the camera.",
                value=f"{name} {angle:.0f} degrees",
                limit=f"{name} {limit:g} degrees",
            )
    if quality.brightness < MIN_BRIGHTNESS:
        raise RefusedError(
            ErrorCode.TOO_DARK,
            "The face is too dark (median brightness of 0 to 255).",
            value=round(quality.brightness, 1),
            limit=MIN_BRIGHTNESS,
        )
    if quality.sharpness < MIN_SHARPNESS:
        raise RefusedError(
            ErrorCode.TOO_BLURRED,
            "The face is blurred (ratio of fine to coarse contrast).",
            value=round(quality.sharpness, 3),
            limit=MIN_SHARPNESS,
        )
    for value, covered, limit in (
        (quality.covered, quality.covered > MAX_COVERED, MAX_COVERED),
        (quality.disagreement, quality.disagreement > max_disagreement, max_disagreement),
        (quality.presence, quality.presence < MIN_PRESENCE, MIN_PRESENCE),
    ):
        if covered:
            raise RefusedError(
                ErrorCode.FACE_COVERED,
                "A large part of the face is covered.",
                value=round(value, 3),
                limit=limit,
            )


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
            value=round(brightness, 1),
            limit=MIN_BRIGHTNESS,
        )


def _polygon(points: NDArray[np.floating], chain: tuple[int, ...]) -> NDArray[np.bool_]:
    picture = Image.new("1", (_PATCH_SIDE, _PATCH_SIDE))
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in points[list(chain)]], fill=1)
    return np.asarray(picture)


def _luma(patch: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(patch.astype(np.float32) @ np.array(_LUMA, np.float32))


def _sharpness(patch: Tensor, oval: NDArray[np.bool_]) -> float:
    # In torch, also on a CPU: NumPy's threads would spin while others compress.
    luma = (patch.float() * torch.tensor(_LUMA, device=patch.device)).sum(2)
    levels = [blur @ luma @ blur.T for blur in _blurs(patch.device)]
    differences = torch.stack([levels[0] - levels[1], levels[2] - levels[3]]).cpu().numpy()
    # Taxicab distance: what so many erosions by a cross leave.
    inside = ndimage.distance_transform_cdt(np.pad(oval, 1), "taxicab")[1:-1, 1:-1] > _EDGE
    if not inside.any():
        return 0.0
    fine, coarse = np.sqrt(np.mean(differences[:, inside] ** 2, axis=1)).tolist()
    return float(fine / max(coarse, 1e-3))


def _covered_share(patch: NDArray[np.uint8], points: NDArray[np.floating], oval: NDArray[np.bool_]) -> float:
    """Return the share of the face (not eyes, brows, mouth) whose colour is far from the face's median."""
    features = np.zeros_like(oval)
    for chain in (RIGHT_LIDS, LEFT_LIDS, RIGHT_BROW, LEFT_BROW, INNER_LIPS):
        features |= _polygon(points, chain)
    skin = oval & (ndimage.distance_transform_cdt(~features, "taxicab") > _FEATURE_MARGIN)
    if not skin.any():
        return 1.0
    rows, columns = (np.flatnonzero(skin.any(axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    lab = np.asarray(ImageCms.applyTransform(Image.fromarray(patch[window]), _lab_transform()))[skin[window]]
    chroma = (lab[:, 1:] ^ 0x80).astype(np.float32)
    middle = np.median(_central(points, chroma, skin), axis=0)
    return float((np.linalg.norm(chroma - middle, axis=1) > _SKIN_CHROMA).mean())


@cache
def _blurs(device: torch.device) -> list[Tensor]:
    """Return what blurs the rows or columns of the patch, at four widths an octave apart: Gaussians."""
    identity = np.eye(_PATCH_SIDE, dtype=np.float32)
    made = [ndimage.gaussian_filter1d(identity, sigma, axis=0) for sigma in _SHARPNESS_SIGMAS]
    return [torch.from_numpy(matrix).to(device) for matrix in made]


@cache
def _lab_transform() -> ImageCms.ImageCmsTransform:
    # Pillow's own conversion makes it anew for every picture, which takes longer than its use.
    return ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )


def _central(
    points: NDArray[np.floating], chroma: NDArray[np.float32], skin: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the colours of the cheeks, the nose's bridge and the forehead's middle."""
    rows, columns = np.nonzero(skin)
    chosen = np.zeros(len(rows), bool)
    for x, y in points[[50, 280, 6, 151, 205, 425]]:
        chosen |= (columns - x) ** 2 + (rows - y) ** 2 < (0.08 * _PATCH_EYES) ** 2
    return chroma[chosen] if chosen.any() else chroma
