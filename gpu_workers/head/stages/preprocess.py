"""Stage preprocess: photo bytes to an upright, cropped picture with landmarks, or a refusal."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from face3d.errors import ErrorCode, RefusedError
from face3d.messages import StageResult
from face3d.options import JobOptions
from face3d.quality import ReasonCode
from gpu_workers.decoding.client import DecodedPhoto, decode_photo, plain_memory
from gpu_workers.head.landmarks.dense_network import FaceNetwork
from gpu_workers.head.landmarks.dense_network_cuda import GraphedFaceNetwork
from gpu_workers.head.landmarks.dense_prediction import look_at_face, network_word
from gpu_workers.head.landmarks.face_detection import MeasuredFace
from gpu_workers.head.landmarks.mediapipe_landmarker import FaceLandmarker
from gpu_workers.head.landmarks.photo_rotation import UprightFace, find_upright_face
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import SKIN_LANDMARKS
from gpu_workers.head.ops.rigid_transforms import head_angles, initial_pose
from gpu_workers.head.photo_quality.face_patch import cut_patch
from gpu_workers.head.photo_quality.glasses_detection import find_spectacles
from gpu_workers.head.photo_quality.image_quality import (
    MAX_DISAGREEMENT,
    measure_quality,
    refuse_bad_face,
    refuse_dark_photo,
)
from gpu_workers.head.photo_quality.observed_face import OBSERVED, Observed, observe
from gpu_workers.head.photo_quality.reasons import list_reasons
from gpu_workers.head.runtime.cuda_graphs import beside
from gpu_workers.photo_limits import PhotoLimits

#: The photo is decoded larger than the engine's input, so that a small face can be cut out with more pixels.
_DECODE_MARGIN = 2.5
_MAX_DECODED = 7680
#: Half the side of the picture that later stages see, in eye distances, about a point above the face's
#: middle.
_CROP_HALF = 3.0
_CROP_RISE = 0.35
#: Its side is a multiple of this, pixels.
_CROP_STEP = 128
#: Focal length where EXIF says nothing: that of a portrait taken from 80 cm, in eye distances, or that of a
#: normal lens, in longest sides of the photo, whichever is longer.
_PORTRAIT_FOCAL = 9.0
_LENS_FOCAL = 1.1
_CPU = torch.device("cpu")
#: What a second, turned photo may be: degrees, and disagreement of the landmarks (see image_quality.py).
_VIEW_YAW = 40.0
_VIEW_DISAGREEMENT = 0.05
#: Diagonal of 35 mm film in millimetres.
_FILM_DIAGONAL = 43.27


def preprocess_photo(
    data: bytes,
    options: JobOptions,
    limits: PhotoLimits,
    landmarker: FaceLandmarker,
    network: FaceNetwork | GraphedFaceNetwork,
    head_data: HeadData,
    device: torch.device = _CPU,
    early: Callable[[StageResult], None] | None = None,
    *,
    strict: bool = True,
) -> StageResult:
    """Decode and measure a photo.

    Args:
        early: is called with the tensors before the face is looked at closely, so that later stages may begin
            on them. They are those of a face that is seen whole: what was begun counts only if this function
            returns, and `same_look` says that its result is alike.
        strict: also refuse a face of which the landmark models are unsure, as they are of a turned one.
        device: where the photo is cut and resampled for the landmark models, and where the network is.
    Returns:
        Tensors: `photo` (H, W, 3) uint8 sRGB; `landmarks` (478, 3) float32 pixels of it (z away from the
            camera, same unit; the first pixel's centre is 0.5); `scores` (52,) float32 expression scores in
            ARKIT_NAMES' order, 0 for parts that are hidden; `observed`, see observed_face.py; `network/...`,
            see dense_prediction.py; `camera` (3,) float64: assumed focal length and principal point, pixels.
            Facts: measurements, `crop` (left, top, right, bottom in pixels of the upright original),
            `turned_degrees` (clockwise, where the photo was not upright and did not say so), `focal_from`,
            whether the face network's points are used, `glasses`, and `reasons`, as of face3d/quality.py.
    Raises:
        RefusedError: see gpu_workers/decoding/client.py and image_quality.py; no_face and several_faces.
    """
    longest = min(_MAX_DECODED, round(_DECODE_MARGIN * options.input_size))
    on_gpu = device.type == "cuda"
    decoded = decode_photo(data, limits, longest, _page_locked if on_gpu else plain_memory)
    rgb = torch.from_numpy(decoded.rgb).to(device, non_blocking=True) if on_gpu else decoded.rgb
    upright = find_upright_face(landmarker, rgb, head_data.landmark_mirror, limits.second_face_share)
    face = _only_face(upright, decoded, limits)
    rgb, decoded = upright.photo, _turn_decoded(decoded, upright.quarters)
    enlarged = max(decoded.original_size) / max(decoded.rgb.shape[:2])
    box = _crop_box(face, decoded.rgb.shape[1], decoded.rgb.shape[0], options.input_size)
    width, height = box[2] - box[0], box[3] - box[1]
    scale = min(1.0, options.input_size / max(width, height))
    photo = _resize(decoded.rgb[box[1] : box[3], box[0] : box[2]], scale)
    scale_x, scale_y = photo.shape[1] / width, photo.shape[0] / height
    landmarks = (face.points - [box[0], box[1], 0]) * [scale_x, scale_y, scale_x]
    camera, focal_from = _camera(decoded, landmarks, box, scale_x)
    tensors = {
        "photo": photo,
        "landmarks": landmarks.astype(np.float32),
        "scores": face.scores.astype(np.float32),
        "camera": camera,
        OBSERVED: Observed().to_tensor(),
    }
    angles = _angles(face, head_data)
    network_facts: dict[str, Any] = {"used": False}
    if word := network_word(angles[0]):
        seen, disagreement = look_at_face(network, photo, landmarks, word, device)
        tensors |= seen
        network_facts = {"used": bool(seen), "disagreement": round(disagreement, 4)}
    if early is not None:
        early(StageResult(tensors=tensors))
    with beside(device, "quality"):
        patch = cut_patch(rgb, face)
    look = observe(patch, face.scores)
    tensors = tensors | {
        "scores": look.observed.keep_scores(face.scores),
        OBSERVED: look.observed.to_tensor(),
    }
    with beside(device, "quality"):
        quality = measure_quality(patch, face, angles, enlarged)
    refuse_bad_face(quality, limits, max_disagreement=MAX_DISAGREEMENT if strict else _VIEW_DISAGREEMENT)
    spectacles = find_spectacles(patch)
    reasons = list_reasons(quality, look, spectacles, upright.degrees)
    facts: dict[str, Any] = {
        "photo": {
            "format": decoded.format,
            "width": decoded.original_size[0],
            "height": decoded.original_size[1],
            "crop": [round(edge * enlarged) for edge in box],
            "turned_degrees": upright.degrees,
        },
        "face": quality.facts(),
        "face_network": network_facts,
        "focal_from": focal_from,
        "faces_found": len(upright.faces),
        "glasses": any(reason.code is ReasonCode.GLASSES for reason in reasons),
        "reasons": [reason.facts() for reason in reasons],
    }
    return StageResult(tensors=tensors, facts=facts)


def same_look(early: StageResult, prepared: StageResult) -> bool:
    """Tell whether the face is seen whole, as what was handed out early takes it to be."""
    return np.array_equal(early.tensors[OBSERVED], prepared.tensors[OBSERVED])


def measure_view(
    data: bytes,
    options: JobOptions,
    limits: PhotoLimits,
    landmarker: FaceLandmarker,
    network: FaceNetwork | GraphedFaceNetwork,
    head_data: HeadData,
    device: torch.device = _CPU,
) -> StageResult:
    """Measure a second photo of a person, in which the head is turned.

    Returns:
        The tensors of `preprocess_photo`, named `view/...`, and the fact `view` with the head's angles.
    Raises:
        RefusedError: as `preprocess_photo`, but a head may be turned further.
    """
    turned = replace(limits, max_yaw_degrees=max(limits.max_yaw_degrees, _VIEW_YAW))
    found = preprocess_photo(data, options, turned, landmarker, network, head_data, device, strict=False)
    tensors = {f"view/{name}": value for name, value in found.tensors.items()}
    return StageResult(tensors=tensors, facts={"view": found.facts["face"]})


def _only_face(upright: UprightFace, decoded: DecodedPhoto, limits: PhotoLimits) -> MeasuredFace:
    """Return a photo's one face.

    Raises:
        RefusedError: too_dark, no_face or several_faces.
    """
    if upright.face is None:
        refuse_dark_photo(decoded.rgb)
        raise RefusedError(ErrorCode.NO_FACE, "No face was found in the photo.", value=0, limit=1)
    faces = upright.faces
    large = [face for face in faces if face.size > limits.second_face_share * faces[0].size]
    if len(large) > 1:
        raise RefusedError(
            ErrorCode.SEVERAL_FACES,
            "The photo shows several faces of similar size.",
            value=len(large),
            limit=1,
        )
    return upright.face


def _turn_decoded(decoded: DecodedPhoto, quarters: int) -> DecodedPhoto:
    """Return a decoded photo turned anticlockwise by quarters."""
    if not quarters:
        return decoded
    width, height = decoded.original_size
    return replace(
        decoded,
        rgb=np.ascontiguousarray(np.rot90(decoded.rgb, quarters)),
        original_size=(height, width) if quarters % 2 else (width, height),
    )


def _angles(face: MeasuredFace, head_data: HeadData) -> tuple[float, float, float]:
    rows = slice(0, SKIN_LANDMARKS)
    model = (
        head_data.positions[head_data.landmark_vertices[rows]] * head_data.landmark_weights[rows][..., None]
    ).sum(1)
    pose = initial_pose(
        torch.from_numpy(model.astype(np.float64))[None],
        torch.from_numpy(face.points[rows].astype(np.float64))[None],
        torch.ones(1, dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
    )
    yaw, pitch, roll = head_angles(pose.rotation)
    return float(yaw), float(pitch), float(roll)


def _crop_box(face: MeasuredFace, width: int, height: int, input_size: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom: the whole photo, or a square about the face that saves pixels.

    Squares have few different sizes and lie inside the photo where it is large enough: a GPU captures its
    kernels for each size of picture once.
    """
    eyes = float(np.linalg.norm(face.points[33, :2] - face.points[263, :2]))
    side = int(np.ceil(2 * _CROP_HALF * eyes / _CROP_STEP)) * _CROP_STEP
    if max(width, height) <= input_size or side > 0.8 * max(width, height):
        return 0, 0, width, height
    x, y = face.points[:SKIN_LANDMARKS, :2].mean(0) - [0, _CROP_RISE * eyes]
    left = min(max(0, round(x - side / 2)), max(0, width - side))
    top = min(max(0, round(y - side / 2)), max(0, height - side))
    return left, top, min(width, left + side), min(height, top + side)


def _page_locked(size: int) -> NDArray[np.uint8]:
    """Return uninitialised bytes that a GPU reads without a copy between."""
    return torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()


def _resize(pixels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1.0:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    return np.array(picture)


def _camera(
    decoded: DecodedPhoto, landmarks: NDArray[np.floating], box: tuple[int, int, int, int], scale: float
) -> tuple[NDArray[np.float64], str]:
    """Return focal length and principal point in pixels of the picture, and where the former is from."""
    height, width = (float(side) for side in decoded.rgb.shape[:2])
    centre = (np.array([width, height]) / 2 - [box[0], box[1]]) * scale
    if decoded.focal_35mm is not None:
        focal = decoded.focal_35mm / _FILM_DIAGONAL * float(np.hypot(width, height)) * scale
        return np.array([focal, *centre]), "exif"
    eyes = float(np.linalg.norm(landmarks[33, :2] - landmarks[263, :2]))
    focal = max(_PORTRAIT_FOCAL * eyes, _LENS_FOCAL * max(width, height) * scale)
    return np.array([focal, *centre]), "prior"
