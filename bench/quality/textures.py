"""How well textures keep what photos show, and how well they hide where it ends: figures of many photos."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_fill_holes, distance_transform_edt, gaussian_filter
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from assets.levels import head_at_level
from assets.preview.render import load_texture, to_srgb
from bench.quality.heads import look_through_camera
from bench.report import describe_run, table
from face3d.head import FloatArray, Head, MeshPart
from face3d.options import JobOptions
from face3d.stage_results import BakedMaps, PreprocessedPhoto
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.head.model.head_template import load_head_data
from gpu_workers.head.model.mediapipe_landmarks import FACE_OVAL
from gpu_workers.head.model.posed_head import pack_camera, stack_vertices
from gpu_workers.head.ops.image import FacePhoto, linearise
from gpu_workers.head.ops.uv_rasterization import interpolate
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.texturing.layers import paint_skin
from gpu_workers.head.texturing.map_baker import MapBaker
from gpu_workers.head.texturing.projection import project_skin
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.process_settings import prepare_process

#: Texels of the reduced map (1024 a side) on either side of the face's border that are left out and compared.
_BORDER_GAP, _BORDER_BAND = 3, 6
#: Texels from a seam at which colours are compared.
_SEAM_DISTANCE = 1.5
_MAP_SIDE = 1024
#: What has borders of its own, and hair.
_FEATURES = ("lips", "mouth_interior", "eye_socket", "brows", "eyelids", "eyelid_rim", "scalp")


@dataclass(frozen=True, kw_only=True)
class TextureQuality:
    """Figures of one photo; dE is CIEDE2000."""

    #: The head under the light that fits the photo best, against the photo: dB, 0..1, dE.
    psnr: float
    ssim: float
    difference: float
    #: Mean dE of the skin just inside and just outside of what the photo shows, and of seams' two sides.
    border_step: float
    seam_step: float
    #: Percent of the face's texels.
    observed: float
    mirrored: float
    completed: float
    #: Pixels a centimetre of the face.
    photo_density: float
    map_density: float


_COLUMNS = (
    "PSNR, dB", "SSIM", "dE", "border dE", "seam dE", "observed, %", "mirrored, %", "completed, %",
    "photo, px/cm", "map, px/cm",
)  # fmt: skip


def bench_quality(
    *,
    model_dir: Path,
    device: str,
    photos: Sequence[Path],
    options: JobOptions,
    say: Callable[[str], None],
) -> None:
    """Reconstruct the photos and print how good their textures are."""
    say(describe_run(n=len(photos), device=device))
    engine = AnnyEngine(model_dir, device=device)
    engine.warm_up()
    prepare_process(device)
    baker = MapBaker(load_head_data(model_dir), DeviceRuntime(torch.device("cpu")))
    lines, found = [], []
    for path in photos:
        prepared = engine.preprocess(path.read_bytes(), options, PhotoLimits())
        geometry = engine.geometry(prepared, options)
        texture = engine.texture(prepared, geometry, options)
        quality = measure_texture(prepared, geometry.head, texture, baker)
        found.append(quality)
        lines.append([path.stem, *_cells(quality)])
    names = [field.name for field in fields(TextureQuality)]
    means = {name: statistics.mean(getattr(quality, name) for quality in found) for name in names}
    lines.append(["mean", *_cells(TextureQuality(**means))])
    say(table(["photo", *_COLUMNS], lines))


def _cells(quality: TextureQuality) -> list[str]:
    digits = (1, 3, 2, 2, 2, 1, 1, 1, 1, 1)
    return [f"{value:.{digit}f}" for value, digit in zip(astuple(quality), digits, strict=True)]


def measure_texture(
    prepared: PreprocessedPhoto, head: Head, texture: BakedMaps, baker: MapBaker
) -> TextureQuality:
    """Return the figures of one bake; see `TextureQuality`.

    Args:
        baker: of the head's topology, on the CPU.
    """
    skin = texture.skin
    density, shares = texture.facts["texel_density"], texture.facts["texel_shares"]
    psnr, ssim, difference = _compare_with_photo(prepared, head, texture)
    reduced = Image.fromarray(skin).resize((_MAP_SIDE, _MAP_SIDE), Image.Resampling.BOX)
    lab = rgb2lab(np.asarray(reduced)).astype(np.float32)
    return TextureQuality(
        psnr=psnr,
        ssim=ssim,
        difference=difference,
        border_step=measure_border(lab, *_find_border(prepared, head, baker)),
        seam_step=measure_seams(lab, head.part("skin"), _find_lining(baker)),
        observed=100 * shares["observed"],
        mirrored=100 * shares["mirrored"],
        completed=100 * shares["completed"],
        photo_density=density["photo"],
        map_density=density["map"],
    )


def _compare_with_photo(
    prepared: PreprocessedPhoto, head: Head, texture: BakedMaps
) -> tuple[float, float, float]:
    """Return PSNR, SSIM and mean dE of the skin within the face's contour."""
    photo = prepared.photo
    density = texture.facts["texel_density"]
    # The map at about the photo's density: what is nearer than its pixels would only be noise.
    reduction = 2 ** max(0, int(np.log2(max(density["map"] / density["photo"], 1))))
    maps = texture.albedos()
    side = maps["skin"].shape[0] // reduction
    maps["skin"] = np.asarray(Image.fromarray(maps["skin"]).resize((side, side), Image.Resampling.BOX))
    view = look_through_camera(head_at_level(head, 0), maps)
    contour = Image.new("1", photo.shape[1::-1])
    points = prepared.landmarks[list(FACE_OVAL), :2]
    ImageDraw.Draw(contour).polygon([(float(x), float(y)) for x, y in points], fill=1)
    face = np.asarray(contour) & (view.part == view.materials.index("skin"))
    lit = to_srgb(light_like(load_texture(photo), view.albedo, view.normals, face))
    error = (lit[face].astype(np.float64) - photo[face]) / 255
    rows, columns = (np.flatnonzero(face.any(axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = face[window]
    # What surrounds the face must not count within SSIM's window.
    shown = np.where(inside[..., None], lit[window], photo[window])
    _, similar = structural_similarity(  # type: ignore[no-untyped-call]
        photo[window], shown, channel_axis=2, gaussian_weights=True, sigma=1.5, full=True
    )
    difference = _differ(rgb2lab(photo[window])[inside], rgb2lab(shown)[inside])
    psnr = -10 * np.log10(np.mean(error**2) + 1e-12)
    return float(psnr), float(similar[inside].mean()), float(difference.mean())


def light_like(
    photo: FloatArray, albedo: FloatArray, normals: FloatArray, face: NDArray[np.bool_]
) -> FloatArray:
    """Return the albedo under the diffuse light (spherical harmonics, order two) that fits the photo best.

    Args:
        photo, albedo: (H, W, 3) linear light.
        normals: (H, W, 3)
        face: (H, W) where it is fitted.
    """
    x, y, z = np.moveaxis(normals, 2, 0)
    basis = np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], -1)
    lit = np.empty_like(albedo)
    for channel in range(3):
        terms = basis * albedo[..., channel, None]
        light, *_ = np.linalg.lstsq(terms[face], photo[face][:, channel], rcond=None)
        lit[..., channel] = terms @ light
    return lit


def _find_border(
    prepared: PreprocessedPhoto, head: Head, baker: MapBaker
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return how far a texel of the skin's map shows the photo, 0..1, and where plain skin lies."""
    data, atlas = baker.data, baker.atlas
    masks = baker.masks.find(prepared.photo, prepared.landmarks)
    with torch.inference_mode():
        face = FacePhoto(
            linear=linearise(masks.photo, masks.reduction, sharpen=False),
            confidence=masks.confidence[None],
            skin=masks.skin[None],
            reduction=masks.reduction,
        )
        vertices = torch.from_numpy(stack_vertices(head))
        camera = torch.from_numpy(pack_camera(head.camera))
        projection = project_skin(
            vertices, camera, atlas, (masks.confidence.shape[0], masks.confidence.shape[1])
        )
        layers = paint_skin(face, projection, atlas, torch.zeros(2)).layers
        shown = 1 - (1 - layers.direct[0]) * (1 - layers.mirrored[0])
    values = np.stack([data.masks[name] for name in _FEATURES if name in data.masks], 1)
    features = interpolate(torch.from_numpy(values).float(), atlas.triangles, atlas.raster).amax(-1)
    reach = _BORDER_GAP + _BORDER_BAND
    near = binary_dilation((features > 0.05).numpy(), iterations=reach)
    return shown.numpy(), (atlas.main & atlas.covered).numpy() & ~near


def measure_border(lab: FloatArray, shown: NDArray[np.float32], plain: NDArray[np.bool_]) -> float:
    """Return the mean dE of what lies on either side of the border of what is shown.

    Args:
        lab: (S, S, 3) CIELAB of the map.
        shown: (S, S) in 0..1; the border lies at one half.
        plain: (S, S) where colours are compared.
    """
    # Nostrils and the like are borders of their own.
    inside = binary_fill_holes(shown > 0.5)
    sides = []
    for side in (inside, ~inside):
        depth = distance_transform_edt(side)
        band = (plain & (depth > _BORDER_GAP) & (depth <= _BORDER_GAP + _BORDER_BAND)).astype(np.float32)
        amount = gaussian_filter(band, _BORDER_BAND)
        mean = gaussian_filter(lab * band[..., None], (_BORDER_BAND, _BORDER_BAND, 0))
        sides.append((mean / (amount[..., None] + 1e-6), amount))
    border = inside & plain & (distance_transform_edt(inside) < 1.5)
    border &= (sides[0][1] > 0.05) & (sides[1][1] > 0.05)
    if not border.any():
        return 0.0
    return float(_differ(sides[0][0][border], sides[1][0][border]).mean())


def measure_seams(lab: FloatArray, skin: MeshPart, lining: FloatArray) -> float:
    """Return the mean dE of both sides of the edges at which the skin's UV map is cut.

    Args:
        lab: (S, S, 3).
        lining: (T, T), T a divisor of S: over 0.5 where the map shows what lines mouth and lids; its colour
            begins there.
    """
    starts, ends = skin.quads.ravel(), np.roll(skin.quads, -1, axis=1).ravel()
    uv_starts, uv_ends = skin.uv_quads.ravel(), np.roll(skin.uv_quads, -1, axis=1).ravel()
    centres = np.repeat(skin.uvs[skin.uv_quads].mean(1), 4, axis=0)
    sides: dict[tuple[int, int], int] = {}
    pairs = []
    for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        other = sides.pop((end, start), None)
        if other is None:
            sides[start, end] = row
        elif {uv_starts[row], uv_ends[row]} != {uv_starts[other], uv_ends[other]}:
            pairs.append((other, row))
    if not pairs:
        return 0.0
    smooth = gaussian_filter(lab, (1, 1, 0))
    size = len(lab)
    colours, of_skin = [], np.ones(len(pairs), bool)
    for rows in np.array(pairs).T:
        middle = (skin.uvs[uv_starts[rows]] + skin.uvs[uv_ends[rows]]) / 2
        inwards = centres[rows] - middle
        length = np.linalg.norm(inwards, axis=1, keepdims=True)
        step = np.minimum(_SEAM_DISTANCE / size, length) * inwards / np.maximum(length, 1e-9)
        column, row = np.clip(((middle + step) * [1, -1] + [0, 1]) * size, 0, size - 1).astype(int).T
        colours.append(smooth[row, column])
        reduction = size // len(lining)
        of_skin &= lining[row // reduction, column // reduction] < 0.5
    return float(_differ(*(side[of_skin] for side in colours)).mean())


def _find_lining(baker: MapBaker) -> FloatArray:
    masks = baker.atlas.masks
    return torch.maximum(masks["mouth_interior"], masks["conjunctiva"]).cpu().numpy()


def _differ(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    difference: NDArray[np.float64] = deltaE_ciede2000(first, second)  # type: ignore[no-untyped-call]
    return difference
