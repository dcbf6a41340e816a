"""Photos to head.obj files for a scoring script, and how well each head stands where the photo shows it."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.levels import head_at_level
from assets.materials import find_surface
from assets.obj import write_obj
from assets.preview.render import Finish, Survey, load_texture, render, survey
from assets.preview.scene import pose_head
from bench.report import describe_run, table
from face3d.head import FloatArray, Head
from face3d.options import JobOptions
from face3d.stage_results import BakedMaps, PreprocessedPhoto
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.head.model.mediapipe_landmarks import SKIN_LANDMARKS, eye_distance
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.process_settings import prepare_process

#: What surrounds the head in the re-rendered picture, linear.
_BACKGROUND = (0.216, 0.216, 0.216)


@dataclass(frozen=True, kw_only=True)
class PhotoEntry:
    """A photo and the name of its head."""

    name: str
    path: Path
    #: A second photo of the person, turned.
    view: Path | None = None


def find_photos(folder: Path, name: str | None, view: str | None = None) -> list[PhotoEntry]:
    """Return the photos of a folder, or of its folders: FOLDER/<head>/NAME, with VIEW beside each."""
    if name:
        return [
            PhotoEntry(name=path.parent.name, path=path, view=path.parent / view if view else None)
            for path in sorted(folder.glob(f"*/{name}"))
        ]
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    return [PhotoEntry(name=path.stem, path=path) for path in files]


def bench_heads(
    *,
    model_dir: Path,
    device: str,
    photos: Sequence[PhotoEntry],
    options: JobOptions,
    out: Path | None,
    redetect: bool,
    say: Callable[[str], None],
) -> None:
    """Reconstruct, write OUT/<name>/head.obj, and print how each head meets its photo.

    Args:
        redetect: also bake the texture, render the head through the photo's camera, and find the landmarks
            again: their mean distance to the photo's own, a share of the outer-eye distance.
    """
    say(describe_run(n=len(photos), device=device))
    engine = AnnyEngine(model_dir, device=device)
    engine.warm_up()
    prepare_process(device)
    lines, distances = [], []
    for entry in photos:
        prepared = engine.preprocess(entry.path.read_bytes(), options, PhotoLimits())
        if entry.view is not None:
            prepared = engine.add_view(prepared, entry.view.read_bytes(), options, PhotoLimits())
        geometry = engine.geometry(prepared, options)
        head = geometry.head
        if out is not None:
            (out / entry.name).mkdir(parents=True, exist_ok=True)
            (out / entry.name / "head.obj").write_bytes(write_obj(head_at_level(head, options.lod)))
        errors = geometry.facts["reprojection_error"]
        cells = [entry.name, f"{100 * errors['basis']:.2f}", f"{100 * errors['final']:.2f}"]
        if redetect:
            texture = engine.texture(prepared, geometry, options)
            distance = _redetect(engine, prepared, head, texture)
            distances.append(distance)
            cells.append(f"{100 * distance:.2f}")
        lines.append(cells)
    columns = ["photo", "residual of the basis, %", "with offsets, %"] + ["found again, %"] * redetect
    say(table(columns, lines))
    if distances:
        median, worst = 100 * statistics.median(distances), 100 * max(distances)
        say(f"found again: median {median:.2f} %, worst {worst:.2f} %")


def _redetect(engine: AnnyEngine, prepared: PreprocessedPhoto, head: Head, texture: BakedMaps) -> float:
    picture = render_through_camera(head, texture.albedos())
    seen = prepared.landmarks.astype(np.float64)
    found = engine.measure_again(picture, seen)
    missing = np.linalg.norm((found - seen)[:SKIN_LANDMARKS, :2], axis=1)
    return float(missing.mean() / eye_distance(seen[:, :2]))


def render_through_camera(head: Head, maps: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return the head in the photo's expression through its camera: (H, W, 3) sRGB.

    Highlights and shadows are the photo's affair; lashes and corneas are clear for the most part.

    Args:
        maps: material to (S, S, 3) sRGB; a part without one has its surface's tint.
    """
    textures = {name: load_texture(image) for name, image in maps.items()}
    posed = pose_head(head, head.camera, weights=_photographed(head))
    return render(posed, textures, Finish(lit=False, background=_BACKGROUND))


def look_through_camera(head: Head, maps: Mapping[str, NDArray[np.uint8]]) -> Survey:
    """Return what the photo's camera sees of the head in the photo's expression, but for what is transparent.

    Args:
        maps: material to (S, S, 3) sRGB; a part without one has its surface's tint.
    """
    solid = tuple(part for part in head.parts if not find_surface(part.material).transparent)
    posed = pose_head(replace(head, parts=solid), head.camera, weights=_photographed(head))
    return survey(posed, {name: load_texture(image) for name, image in maps.items()})


def _photographed(head: Head) -> FloatArray | None:
    """Return the weights that give the head the photo's expression."""
    return None if head.expression_in_base else head.expression
