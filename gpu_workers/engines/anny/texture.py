"""The texture stage of engine `anny`: a photo and a fitted head become albedo maps, on CPU or CUDA."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import Head
from face3d.messages import StageResult
from face3d.options import JobOptions
from gpu_workers.engines.anny.head_data import HeadData
from gpu_workers.engines.anny.texture_atlas import SkinAtlas, load_skin_atlas
from gpu_workers.engines.anny.texture_bake import BakeRequest, SkinBake, bake_skin
from gpu_workers.engines.anny.texture_compose import encode_srgb
from gpu_workers.engines.anny.texture_eyes import (
    EyePaint,
    find_iris_colour,
    locate_iris,
    paint_eyes,
    prepare_eyes,
)
from gpu_workers.engines.anny.texture_lashes import paint_lashes
from gpu_workers.engines.anny.texture_masks import FaceMasks, find_masks
from gpu_workers.engines.anny.texture_mouth import (
    MouthPaint,
    find_tooth_tint,
    paint_mouth,
    prepare_mouth,
)
from gpu_workers.engines.anny.texture_surface import (
    DISPLACEMENT_RANGE,
    load_surface_atlas,
    make_surface,
)


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
    #: Makes the other maps and the facts, as `bake_head` returns them.
    finish: Callable[[], StageResult]
    #: Makes the maps of the surface finer than the mesh, tensors and facts; after `finish`.
    surface: Callable[[], StageResult]


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
        `occlusion/skin` and `displacement/skin` (texture_surface.py); facts `texel_shares` of the face
        (observed, mirrored, completed), `texel_density` in px/cm (photo, map), whether `glasses` were seen,
        the share of the face that is `covered` by them, hair or else, `timings` in seconds,
        `displacement_range_m`.
    """
    with bake_on_device(prepared, head, head_data, options, device, masks=masks, graphs=graphs) as bake:
        skin = to_host(bake.skin)
        rest = bake.finish()
        surface = bake.surface() if "maps" in options.formats else StageResult()
    tensors = {"albedo/skin": skin, **rest.tensors, **surface.tensors}
    # Later facts know the earlier timings.
    return StageResult(tensors=tensors, facts={**rest.facts, **surface.facts})


@contextmanager
def bake_on_device(
    prepared: StageResult,
    head: Head,
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

        def finish() -> StageResult:
            clock.lap("skin taken")
            iris = find_iris_colour(bake.linear, landmarks)
            constants = _load_constants(head_data, device)
            eyes = paint_eyes(iris, constants.eyes)
            mouth = paint_mouth(find_tooth_tint(bake.linear, landmarks), constants.mouth)
            facts = _describe(bake, head, atlas, options.texture_size)
            facts["glasses"] = request.masks.glasses
            facts["covered"] = round(request.masks.covered, 4)
            facts["iris_colour"] = _round(iris.tolist())
            maps = {
                "albedo/eyes": to_host(_finish(eyes)),
                "albedo/mouth": to_host(_finish(mouth)),
                "albedo/lashes": paint_lashes(),
            }
            clock.lap("eyes and mouth")
            return StageResult(tensors=maps, facts={**facts, "timings": clock.laps})

        def surface() -> StageResult:
            clock.lap("maps taken")
            density = float(bake.measures[2])
            maps = make_surface(bake.albedo, density, load_surface_atlas(head_data, atlas))
            tensors = {f"{name}/skin": to_host(image) for name, image in vars(maps).items()}
            clock.lap("surface")
            facts = {"displacement_range_m": DISPLACEMENT_RANGE, "timings": clock.laps}
            return StageResult(tensors=tensors, facts=facts)

        yield DeviceBake(skin=bake.albedo, finish=finish, surface=surface)


def to_host(image: Tensor) -> NDArray[np.uint8]:
    """Return a device's image as an array; through page-locked memory, which the array keeps."""
    if not image.is_cuda:
        return image.numpy()
    target = torch.empty(image.shape, dtype=image.dtype, pin_memory=True)
    target.copy_(image, non_blocking=True)
    torch.cuda.current_stream(image.device).synchronize()
    return target.numpy()


def warm_up_texture(head_data: HeadData, device: torch.device) -> None:
    """Make the constant maps, so that the first photo does not pay for them."""
    load_surface_atlas(head_data, load_skin_atlas(head_data, device))
    _load_constants(head_data, device)
    paint_lashes()


class _Clock:
    """Seconds of each step; on a GPU it waits for the step to end."""

    def __init__(self, device: torch.device) -> None:
        self.laps: dict[str, float] = {}
        self._device = device
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        if self._device.type == "cuda":
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
