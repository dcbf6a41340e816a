"""A contact sheet a photo: the head as one looks it over, drawn by the preview's renderer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.levels import head_at_level
from assets.preview.picture import crop_photo, frame_photo
from assets.preview.render import Finish, load_texture, render
from assets.preview.scene import aim_camera, pose_head
from bench.quality.shape_sheets import lay_out
from bench.report import describe_run
from face3d.head import ARKIT_NAMES, FloatArray, Head
from face3d.options import JobOptions, LevelOfDetail
from face3d.stage_results import BakedMaps
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.process_settings import prepare_process

_TILE, _COLUMNS, _LABEL = 512, 4, 30
_GREY = 128


@dataclass(frozen=True, kw_only=True)
class _View:
    label: str
    yaw_degrees: float = 0.0
    #: ARKit name to weight.
    weights: Mapping[str, float] | None = None
    grey: bool = False


_VIEWS = (
    _View(label="front, neutral"),
    _View(label="45 degrees", yaw_degrees=45),
    _View(label="-45 degrees", yaw_degrees=-45),
    _View(label="profile", yaw_degrees=90),
    _View(label="back", yaw_degrees=180),
    _View(label="shape", grey=True),
    _View(label="shape, profile", yaw_degrees=90, grey=True),
    _View(label="mouth open", weights={"jawOpen": 0.7}),
    _View(label="eyes shut", weights={"eyeBlinkLeft": 1, "eyeBlinkRight": 1}),
)


def bench_looks(
    *,
    model_dir: Path,
    device: str,
    photos: Sequence[Path],
    view: Path | None,
    options: JobOptions,
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Reconstruct the photos, with the second view if there is one; write OUT/<photo's name>.png for each."""
    say(describe_run(n=len(photos), device=device))
    engine = AnnyEngine(model_dir, device=device)
    engine.warm_up()
    prepare_process(device)
    out.mkdir(parents=True, exist_ok=True)
    for path in photos:
        prepared = engine.preprocess(path.read_bytes(), options, PhotoLimits())
        if view is not None:
            prepared = engine.add_view(prepared, view.read_bytes(), options, PhotoLimits())
        geometry = engine.geometry(prepared, options)
        texture = engine.texture(prepared, geometry, options)
        target = out / f"{path.stem}.png"
        draw_sheet(prepared.photo, geometry.head, texture, options.lod).save(target)
        shares = ", ".join(f"{name} {share:.0%}" for name, share in texture.facts["texel_shares"].items())
        second = geometry.facts.get("view_matches")
        found = "" if second is None else f"; {second} keypoint matches"
        say(f"{target}: {geometry.facts['quality']}; {shares}{found}")


def draw_sheet(photo: NDArray[np.uint8], head: Head, texture: BakedMaps, lod: LevelOfDetail) -> Image.Image:
    """Return the sheet: the photo, the head from all sides, its shape, mouth open, eyes shut, albedo.

    Args:
        photo: (H, W, 3) sRGB, the picture that `head.camera` describes.
        texture: of which the albedo is drawn.
    """
    maps = {material: load_texture(image) for material, image in texture.albedos().items()}
    shown = head_at_level(head, lod)
    tiles = [("photo", crop_photo(photo, frame_photo(head), _TILE))]
    if head.expression.any() and not head.expression_in_base:
        tiles.append(("front, as in the photo", _render(shown, _View(label=""), maps, head.expression)))
    tiles += [(view.label, _render(shown, view, maps, _weights(view))) for view in _VIEWS]
    albedo = Image.fromarray(texture.skin).resize((_TILE, _TILE), Image.Resampling.BOX)
    tiles.append(("albedo", np.asarray(albedo)))
    return lay_out(tiles, columns=_COLUMNS, label=_LABEL, font_size=18)


def _render(
    head: Head, view: _View, maps: Mapping[str, FloatArray], weights: FloatArray | None
) -> NDArray[np.uint8]:
    posed = pose_head(head, aim_camera((_TILE, _TILE), yaw_degrees=view.yaw_degrees), weights=weights)
    grey = np.full((2, 2, 3), _GREY, np.uint8)
    textures = {"skin": load_texture(grey), "eyes": load_texture(grey)} if view.grey else maps
    return render(posed, textures, Finish(transparent=not view.grey))


def _weights(view: _View) -> FloatArray | None:
    if view.weights is None:
        return None
    weights = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, value in view.weights.items():
        weights[ARKIT_NAMES.index(name)] = value
    return weights
