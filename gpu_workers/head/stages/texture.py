"""The texture stage of engine `anny`: a photo and a fitted head become albedo maps, on CPU or CUDA."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import Head
from face3d.messages import Array
from face3d.options import JobOptions, bust_is_on
from face3d.quality import ReasonCode, judge
from face3d.stage_results import BakedMaps, ByteArray, PreprocessedPhoto, SurfaceImages
from gpu_workers.head.model.mediapipe_landmarks import LEFT_BROW, OUTER_LIPS, RIGHT_BROW
from gpu_workers.head.model.posed_head import HostHead, PosedHead
from gpu_workers.head.runtime.host_transfer import to_host
from gpu_workers.head.segmentation.face_masks import FaceMasks
from gpu_workers.head.texturing.bust import paint_bust
from gpu_workers.head.texturing.composition import encode_srgb
from gpu_workers.head.texturing.detail_maps import DISPLACEMENT_RANGE
from gpu_workers.head.texturing.eyes import find_iris_colour, paint_eyes
from gpu_workers.head.texturing.map_baker import MapBaker
from gpu_workers.head.texturing.mouth import find_tooth_tint, paint_mouth
from gpu_workers.head.texturing.skin_bake import BakeRequest, SkinBake
from gpu_workers.head.texturing.uv_atlas import SkinAtlas


@dataclass(frozen=True, kw_only=True)
class FurtherMaps:
    """What `BakedMaps` holds besides the skin's albedo; see there."""

    eyes: ByteArray
    mouth: ByteArray
    lashes: ByteArray
    bust: ByteArray | None
    surface: SurfaceImages | None
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DeviceBake:
    """A head's maps while the skin's still lies on the device; use it inside its context."""

    #: (S, S, 3) uint8 sRGB on the device.
    skin: Tensor
    #: Makes the other maps and the facts, as `bake_head` returns them; True: those of the surface too.
    finish: Callable[[bool], FurtherMaps]


@torch.inference_mode()
def bake_head(
    prepared: PreprocessedPhoto,
    head: Head,
    baker: MapBaker,
    options: JobOptions,
    *,
    masks: FaceMasks | None = None,
) -> BakedMaps:
    """Bake the albedo maps of a head.

    Args:
        prepared: with landmarks (478, 2 or 3).
        head: fitted to that photo, on the topology of the baker.
        masks: of the photo, where they are made already.
    Returns:
        Maps of skin, eyes, mouth and lashes, and of the bust if it is on; with format `maps` the skin's
        surface. Facts: `texel_shares` of the face (observed, mirrored, completed), `texel_density` in px/cm
        (photo, map), whether `glasses`
        were found and left out, the share of the face that is `covered` by them, hair or else,
        `quality_reasons` that this stage adds, `iris_colour`, `skin_tone` and `hair_colour` in linear light
        (None where the photo does not show them), `timings` in seconds, `displacement_range_m`.
    """
    posed = HostHead(head)
    with bake_on_device(prepared, posed, baker, options, masks=masks) as bake:
        rest = bake.finish("maps" in options.formats)
        skin = to_host(bake.skin).numpy()
    return BakedMaps(
        skin=skin,
        eyes=rest.eyes,
        mouth=rest.mouth,
        lashes=rest.lashes,
        bust=rest.bust,
        surface=rest.surface,
        facts=rest.facts,
    )


@contextmanager
def bake_on_device(
    prepared: PreprocessedPhoto,
    head: PosedHead,
    baker: MapBaker,
    options: JobOptions,
    *,
    masks: FaceMasks | None = None,
) -> Iterator[DeviceBake]:
    """Yield the maps with the skin's on the device, as long as the context lasts.

    Args:
        masks: of the photo, where they are made already.
    """
    clock = _Clock(baker.runtime.device)
    skin_baker, atlas = baker.skin, baker.atlas
    landmarks = prepared.landmarks
    request = BakeRequest(
        masks=masks or baker.masks.find(prepared.photo, landmarks),
        head=head,
        sharpen=options.sharpen,
        size=options.texture_size,
    )
    clock.lap("masks")
    with torch.inference_mode(), skin_baker.bake(request) as bake, ExitStack() as borrowed:
        clock.lap("bake")

        def finish(with_surface: bool) -> FurtherMaps:
            facts = _describe(bake, head.head, atlas, options.texture_size)
            facts["glasses"] = request.masks.glasses
            facts["covered"] = round(request.masks.covered, 4)
            features, shift = _cut_features(bake.linear, landmarks)
            clock.lap("facts")
            surface_maps: list[Tensor] = []
            if with_surface:
                # A graph of its own, in memory that the bake's graph uses: what this one has found is read.
                surface = borrowed.enter_context(baker.surface.bake(bake.albedo, bake.measures[2]))
                surface_maps = [surface.normal, surface.roughness, surface.occlusion, surface.displacement]
                facts["displacement_range_m"] = DISPLACEMENT_RANGE
                clock.lap("surface", wait=False)
            points, observed = landmarks[:, :2] - shift, prepared.observed
            iris = find_iris_colour(features, points, observed.coloured_irises)
            tint = find_tooth_tint(features, points) if observed.teeth else torch.ones(3)
            facts["iris_colour"] = _round(iris.tolist()) if any(observed.coloured_irises) else None
            if not observed.colours:
                # What the map shows is not the person's, and nobody should take it for that.
                facts["skin_tone"] = facts["hair_colour"] = None
            facts["quality_reasons"] = _list_reasons(prepared, request.masks.glasses)
            painted = [_finish(paint_eyes(iris, baker.eyes)), _finish(paint_mouth(tint, baker.mouth))]
            clock.lap("eyes and mouth", wait=False)
            below = [paint_bust(bake.albedo, baker.bust)] if bust_is_on(options, prepared.facts) else []
            eyes, mouth, *found = (image.numpy() for image in to_host([*painted, *surface_maps, *below]))
            bust = found.pop() if below else None
            lashes = baker.lashes
            clock.lap("maps taken")
            return FurtherMaps(
                eyes=eyes,
                mouth=mouth,
                lashes=lashes,
                bust=bust,
                surface=_name_surface(*found) if found else None,
                facts={**facts, "timings": clock.laps},
            )

        yield DeviceBake(skin=bake.albedo, finish=finish)


def _name_surface(normal: Array, roughness: Array, occlusion: Array, displacement: Array) -> SurfaceImages:
    return SurfaceImages(normal=normal, roughness=roughness, occlusion=occlusion, displacement=displacement)


def _cut_features(photo: Tensor, landmarks: Array) -> tuple[Tensor, NDArray[np.float64]]:
    """Return the part of a photo (3, H, W) with eyes and mouth, on the CPU, and its left and top pixel."""
    points = np.asarray(landmarks, np.float64)[[*RIGHT_BROW, *LEFT_BROW, *OUTER_LIPS], :2]
    size = np.array([photo.shape[2], photo.shape[1]])
    low = np.clip(np.floor(points.min(0)), 0, size - 1).astype(int)
    high = np.clip(np.ceil(points.max(0)), low + 1, size).astype(int)
    return photo[:, low[1] : high[1], low[0] : high[0]].cpu(), low.astype(np.float64)


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


def _list_reasons(prepared: PreprocessedPhoto, left_out: bool) -> list[dict[str, Any]]:
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
