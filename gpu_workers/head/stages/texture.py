"""The texture stage of engine `anny`: a photo and a fitted head become albedo maps, on CPU or CUDA."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import Head
from face3d.messages import Array, StageResult
from face3d.options import JobOptions
from face3d.quality import ReasonCode, judge
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import LEFT_BROW, OUTER_LIPS, RIGHT_BROW
from gpu_workers.head.model.posed_head import HostHead, PosedHead
from gpu_workers.head.photo_quality.observed_face import read_observed
from gpu_workers.head.segmentation.face_masks import FaceMasks, find_masks
from gpu_workers.head.texturing.composition import encode_srgb
from gpu_workers.head.texturing.detail_maps import (
    DISPLACEMENT_RANGE,
    load_surface_atlas,
)
from gpu_workers.head.texturing.detail_maps_cuda import bake_surface
from gpu_workers.head.texturing.eyes import (
    EyePaint,
    find_iris_colour,
    locate_iris,
    paint_eyes,
    prepare_eyes,
)
from gpu_workers.head.texturing.lashes import paint_lashes
from gpu_workers.head.texturing.mouth import (
    MouthPaint,
    find_tooth_tint,
    paint_mouth,
    prepare_mouth,
)
from gpu_workers.head.texturing.skin_bake import BakeRequest, SkinBake, bake_skin
from gpu_workers.head.texturing.uv_atlas import SkinAtlas, load_skin_atlas


@dataclass(frozen=True)
class _Constants:
    """What is the same for every person; the head data is kept so that its id is not given to another."""

    head_data: HeadData
    mouth: MouthPaint
    eyes: EyePaint


_constants: dict[tuple[int, str], _Constants] = {}
_constants_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class DeviceBake:
    """A head's maps while the skin's still lies on the device; use it inside its context."""

    #: (S, S, 3) uint8 sRGB on the device.
    skin: Tensor
    #: Makes the other maps and the facts, as `bake_head` returns them; True: those of the surface too.
    finish: Callable[[bool], StageResult]


@torch.inference_mode()
def bake_head(
    prepared: StageResult,
    head: Head,
    head_data: HeadData,
    options: JobOptions,
    device: torch.device,
    *,
    masks: FaceMasks | None = None,
    graphs: bool = True,
) -> StageResult:
    """Bake the albedo maps of a head.

    Args:
        prepared: the preprocess stage's result: `photo` (H, W, 3) uint8 and `landmarks` (478, 2 or 3) pixels.
        head: fitted to that photo, on the topology of `head_data`.
        masks: of the photo, where they are made already.
    Returns:
        `albedo/skin` (`options.texture_size` a side), `albedo/eyes`, `albedo/mouth`, and `albedo/lashes` with
        coverage as a fourth channel; with format `maps`, of the skin's size, `normal/skin`, `roughness/skin`,
        `occlusion/skin` and `displacement/skin` (detail_maps.py); facts `texel_shares` of the face
        (observed, mirrored, completed), `texel_density` in px/cm (photo, map), whether `glasses` were found
        and left out, `quality_reasons` that this stage adds, `iris_colour`, `skin_tone` and `hair_colour` in
        linear light (None where the photo does not show them),
        the share of the face that is `covered` by them, hair or else, `timings` in seconds,
        `displacement_range_m`.
    """
    posed = HostHead(head)
    with bake_on_device(prepared, posed, head_data, options, device, masks=masks, graphs=graphs) as bake:
        rest = bake.finish("maps" in options.formats)
        skin = to_host({"albedo/skin": bake.skin})
    return StageResult(tensors={**skin, **rest.tensors}, facts=rest.facts)


@contextmanager
def bake_on_device(
    prepared: StageResult,
    head: PosedHead,
    head_data: HeadData,
    options: JobOptions,
    device: torch.device,
    *,
    masks: FaceMasks | None = None,
    graphs: bool = True,
) -> Iterator[DeviceBake]:
    """Yield the maps with the skin's on the device, as long as the context lasts.

    Args:
        masks: of the photo, where they are made already.
        graphs: use a CUDA graph where the device can.
    """
    clock = _Clock(device)
    atlas = load_skin_atlas(head_data, device)
    landmarks = prepared.tensors["landmarks"]
    request = BakeRequest(
        masks=masks or find_masks(prepared.tensors["photo"], landmarks, device, graphs=graphs),
        head=head,
        sharpen=options.sharpen,
        size=options.texture_size,
    )
    clock.lap("masks")
    with torch.inference_mode(), bake_skin(request, atlas, graphs=graphs) as bake:
        clock.lap("bake")

        def finish(with_surface: bool) -> StageResult:
            facts = _describe(bake, head.head, atlas, options.texture_size)
            facts["glasses"] = request.masks.glasses
            facts["covered"] = round(request.masks.covered, 4)
            features, shift = _cut_features(bake.linear, landmarks)
            clock.lap("facts")
            images: dict[str, Tensor] = {}
            if with_surface:
                surface_atlas = load_surface_atlas(head_data, atlas)
                # A graph of its own, in memory that the bake's graph uses: what this one has found is read.
                surface = bake_surface(bake.albedo, bake.measures[2], surface_atlas, graphs=graphs)
                images = {f"{name}/skin": image for name, image in vars(surface).items()}
                facts["displacement_range_m"] = DISPLACEMENT_RANGE
                clock.lap("surface", wait=False)
            points, observed = landmarks[:, :2] - shift, read_observed(prepared.tensors)
            iris = find_iris_colour(features, points, observed.coloured_irises)
            tint = find_tooth_tint(features, points) if observed.teeth else torch.ones(3)
            facts["iris_colour"] = _round(iris.tolist()) if any(observed.coloured_irises) else None
            if not observed.colours:
                # What the map shows is not the person's, and nobody should take it for that.
                facts["skin_tone"] = facts["hair_colour"] = None
            facts["quality_reasons"] = _list_reasons(prepared, request.masks.glasses)
            constants = _load_constants(head_data, device)
            images["albedo/eyes"] = _finish(paint_eyes(iris, constants.eyes))
            images["albedo/mouth"] = _finish(paint_mouth(tint, constants.mouth))
            clock.lap("eyes and mouth", wait=False)
            maps = {**to_host(images), "albedo/lashes": paint_lashes()}
            clock.lap("maps taken")
            return StageResult(tensors=maps, facts={**facts, "timings": clock.laps})

        yield DeviceBake(skin=bake.albedo, finish=finish)


def to_host(images: Mapping[str, Tensor]) -> dict[str, NDArray[np.generic]]:
    """Return a device's images as arrays; through page-locked memory, which the arrays keep."""
    targets = {
        name: torch.empty(image.shape, dtype=image.dtype, pin_memory=True).copy_(image, non_blocking=True)
        if image.is_cuda
        else image
        for name, image in images.items()
    }
    for image in images.values():
        if image.is_cuda:
            torch.cuda.current_stream(image.device).synchronize()
            break
    return {name: target.numpy() for name, target in targets.items()}


def _cut_features(photo: Tensor, landmarks: Array) -> tuple[Tensor, NDArray[np.float64]]:
    """Return the part of a photo (3, H, W) with eyes and mouth, on the CPU, and its left and top pixel."""
    points = np.asarray(landmarks, np.float64)[[*RIGHT_BROW, *LEFT_BROW, *OUTER_LIPS], :2]
    size = np.array([photo.shape[2], photo.shape[1]])
    low = np.clip(np.floor(points.min(0)), 0, size - 1).astype(int)
    high = np.clip(np.ceil(points.max(0)), low + 1, size).astype(int)
    return photo[:, low[1] : high[1], low[0] : high[0]].cpu(), low.astype(np.float64)


def warm_up_texture(head_data: HeadData, device: torch.device) -> None:
    """Make the constant maps, so that the first photo does not pay for them."""
    load_surface_atlas(head_data, load_skin_atlas(head_data, device))
    _load_constants(head_data, device)
    paint_lashes()


class _Clock:
    """Seconds of each step; on a GPU it waits for the step to end, or for the host to have sent it."""

    def __init__(self, device: torch.device) -> None:
        self.laps: dict[str, float] = {}
        self._device = device
        self._last = time.perf_counter()

    def lap(self, name: str, *, wait: bool = True) -> None:
        if wait and self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 4)
        self._last = now


def _load_constants(data: HeadData, device: torch.device) -> _Constants:
    key = (id(data), str(device))
    with _constants_lock:
        if key not in _constants:
            mouth = prepare_mouth(data, device)
            _constants[key] = _Constants(data, mouth, prepare_eyes(locate_iris(data, device)))
        return _constants[key]


def _finish(linear: Tensor) -> Tensor:
    return encode_srgb(linear.clone()).permute(1, 2, 0).contiguous()


def _describe(bake: SkinBake, head: Head, atlas: SkinAtlas, size: int) -> dict[str, Any]:
    observed, mirrored, density, *colours = bake.measures.tolist()
    shares = {"observed": observed, "mirrored": mirrored, "completed": 1 - observed - mirrored}
    return {
        "texel_shares": {name: round(share, 4) for name, share in shares.items()},
        "texel_density": {"photo": round(density, 1), "map": round(_map_density(head, atlas, size), 1)},
        "skin_tone": _round(colours[:3]),
        "hair_colour": _round(colours[3:]),
    }


def _list_reasons(prepared: StageResult, left_out: bool) -> list[dict[str, Any]]:
    """Return what the photo's masks add to the reasons that preprocess found.

    Args:
        left_out: whether the masks found the frame's pixels, so that the map does not show them.
    """
    if left_out:
        return []
    frames = [
        fact["value"] for fact in prepared.facts.get("reasons", []) if fact["code"] == ReasonCode.GLASSES
    ]
    found = [reason for value in frames for reason in judge(ReasonCode.GLASSES_FRAME_REMAINS, value)]
    return [reason.facts() for reason in found]


def _map_density(head: Head, atlas: SkinAtlas, size: int) -> float:
    """Return the map's texels a centimetre of the face: the root of the ratio of areas."""
    used = atlas.face_texels.nonzero()[0]
    corners = head.part("skin").positions[atlas.host_triangles[used]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1).sum() / 2
    density = np.sqrt(atlas.face_texels[used].sum() / area)
    return float(density) * size / atlas.covered.shape[0] / 100


def _round(colour: list[float]) -> list[float]:
    return [round(value, 4) for value in colour]
