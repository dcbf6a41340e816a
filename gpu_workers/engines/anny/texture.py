"""The texture stage of engine `anny`: a photo and a fitted head become albedo maps. One path, CPU or CUDA."""

import threading
import time

import torch
from torch import Tensor

from face3d.head import Head
from face3d.messages import StageResult
from face3d.options import JobOptions
from gpu_workers.engines.anny.head_data import HeadData
from gpu_workers.engines.anny.texture_atlas import SkinAtlas, load_skin_atlas
from gpu_workers.engines.anny.texture_compose import compose_skin, encode_srgb
from gpu_workers.engines.anny.texture_eyes import find_iris_colour, paint_eyes
from gpu_workers.engines.anny.texture_mouth import paint_mouth
from gpu_workers.engines.anny.texture_photo import prepare_photo
from gpu_workers.engines.anny.texture_project import Projection, project_skin
from gpu_workers.engines.anny.texture_skin import SkinPaint, paint_skin

_mouths: dict[tuple[int, str], tuple[HeadData, Tensor]] = {}
_mouth_lock = threading.Lock()


@torch.inference_mode()
def bake_head(
    prepared: StageResult,
    head: Head,
    head_data: HeadData,
    options: JobOptions,
    device: torch.device,
) -> StageResult:
    """Bake the albedo maps of a head.

    Args:
        prepared: the preprocess stage's result: `photo` (H, W, 3) uint8 and `landmarks` (478, 2 or 3) pixels.
        head: fitted to that photo, on the topology of `head_data`.
    Returns:
        `albedo/skin` (`options.texture_size` a side), `albedo/eyes`, `albedo/mouth`; facts `texel_shares` of
        the face (observed, mirrored, completed), `texel_density` in px/cm (photo, map), `timings` in seconds.
    """
    clock = _Clock(device)
    atlas = load_skin_atlas(head_data, device)
    clock.lap("atlas")
    landmarks = prepared.tensors["landmarks"]
    photo = prepare_photo(prepared.tensors["photo"], landmarks, sharpen=options.sharpen, device=device)
    clock.lap("photo")
    height, width = photo.confidence.shape[1:]
    projection = project_skin(head, atlas, (height, width), device)
    clock.lap("project")
    paint = paint_skin(photo, projection, atlas)
    clock.lap("paint")
    skin = compose_skin(photo.linear, paint.layers, options.texture_size)
    clock.lap("compose")
    iris = find_iris_colour(photo.linear, landmarks)
    eyes = paint_eyes(iris, head_data.iris_uv_centre, head_data.iris_uv_radius)
    maps = {"skin": skin, "eyes": _finish(eyes), "mouth": _load_mouth(head_data, device)}
    clock.lap("eyes and mouth")
    tensors = {f"albedo/{name}": image.cpu().numpy() for name, image in maps.items()}
    clock.lap("copy")
    return StageResult(
        tensors=tensors,
        facts={
            "texel_shares": _shares(paint),
            "texel_density": {
                "photo": round(_photo_density(projection, paint), 1),
                "map": round(_map_density(head, atlas, options.texture_size), 1),
            },
            "skin_tone": _round(paint.base_tone),
            "hair_colour": _round(paint.layers.hair),
            "iris_colour": _round(iris),
            "timings": clock.laps,
        },
    )


def warm_up_texture(head_data: HeadData, device: torch.device) -> None:
    """Make the constant maps, so that the first photo does not pay for them."""
    load_skin_atlas(head_data, device)
    _load_mouth(head_data, device)


class _Clock:
    """Seconds of each step; on a GPU it waits for the step to end."""

    def __init__(self, device: torch.device) -> None:
        self.laps: dict[str, float] = {}
        self._device = device
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 4)
        self._last = now


def _load_mouth(data: HeadData, device: torch.device) -> Tensor:
    key = (id(data), str(device))
    with _mouth_lock:
        if key not in _mouths:
            _mouths[key] = (data, _finish(paint_mouth(data, device)))
        return _mouths[key][1]


def _finish(linear: Tensor) -> Tensor:
    return encode_srgb(linear.clone()).permute(1, 2, 0).contiguous()


def _shares(paint: SkinPaint) -> dict[str, float]:
    completed = 1 - paint.observed - paint.mirrored
    shares = {"observed": paint.observed, "mirrored": paint.mirrored, "completed": completed}
    return {name: round(share, 4) for name, share in shares.items()}


def _photo_density(projection: Projection, paint: SkinPaint) -> float:
    """Return the photo's pixels a centimetre of the observed face, foreshortening included."""
    seen = paint.layers.direct > 0.5
    if not bool(seen.any()):
        return 0.0
    return float((projection.scale * projection.cosine.clamp(min=0).sqrt())[seen].median()) / 100


def _map_density(head: Head, atlas: SkinAtlas, size: int) -> float:
    """Return the map's texels a centimetre of the face: the root of the ratio of areas."""
    face = (atlas.masks["face"] > 0.5) & atlas.main & atlas.covered
    positions = torch.tensor(head.part("skin").positions).to(face.device)
    corners = positions[atlas.triangles]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1) / 2
    texels = torch.bincount(atlas.raster.triangle[face], minlength=len(area))
    used = texels > 0
    density = (texels[used].sum() / area[used].sum()).sqrt()
    return float(density) * size / face.shape[0] / 100


def _round(colour: Tensor) -> list[float]:
    return [round(float(x), 4) for x in colour]
