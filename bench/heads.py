"""Photos to head.obj files for a scoring script, and how well each head stands where the photo shows it."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.levels import head_at_level
from assets.materials import find_surface
from assets.mesh import find_normals, split_vertices
from assets.obj import write_obj
from assets.raster import rasterise
from assets.render import load_texture, shade, to_srgb
from bench.report import describe_run, table
from face3d.head import FloatArray, Head, MeshPart, head_from_tensors
from face3d.messages import StageResult
from face3d.options import JobOptions
from gpu_workers.engines.anny.correspondence import OUTER_EYE_CORNERS, SKIN_LANDMARKS
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.engines.base import PhotoLimits

#: What surrounds the head in the re-rendered picture, sRGB.
_BACKGROUND = 128


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
    lines, distances = [], []
    for entry in photos:
        prepared = engine.preprocess(entry.path.read_bytes(), options, PhotoLimits())
        if entry.view is not None:
            prepared = engine.add_view(prepared, entry.view.read_bytes(), options, PhotoLimits())
        geometry = engine.geometry(prepared, options)
        head = head_from_tensors(geometry.tensors)
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


def _redetect(engine: AnnyEngine, prepared: StageResult, head: Head, texture: StageResult) -> float:
    maps = {name.removeprefix("albedo/"): image for name, image in texture.tensors.items()}
    picture = render_through_camera(head, maps)
    seen = prepared.tensors["landmarks"].astype(np.float64)
    found = engine.measure_again(picture, seen)
    right, left = OUTER_EYE_CORNERS
    eye_distance = float(np.linalg.norm(seen[right, :2] - seen[left, :2]))
    missing = np.linalg.norm((found - seen)[:SKIN_LANDMARKS, :2], axis=1)
    return float(missing.mean()) / eye_distance


def render_through_camera(head: Head, maps: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return the head in the photo's expression through its camera, lit like a preview: (H, W, 3) sRGB.

    Args:
        maps: material to (S, S, 3) sRGB; a part without one is grey.
    """
    seen = look_through_camera(head, maps)
    picture = np.full((*seen.part.shape, 3), _BACKGROUND, np.uint8)
    hit = seen.part >= 0
    towards = np.tile(np.array([0, 0, 1], np.float32), (int(hit.sum()), 1))
    # Highlights are the photo's affair.
    matte, _ = shade(seen.albedo[hit], seen.normals[hit], towards, roughness=1.0)
    picture[hit] = to_srgb(matte)
    return picture


@dataclass(frozen=True, kw_only=True)
class CameraView:
    """What the photo's camera sees of a head, without light."""

    #: (H, W) number of the part of `materials` that a pixel shows, -1 where it shows none.
    part: NDArray[np.int64]
    materials: tuple[str, ...]
    #: (H, W, 3) linear light.
    albedo: FloatArray
    #: (H, W, 3) unit vectors, x right, y up, z to the viewer.
    normals: FloatArray


def look_through_camera(head: Head, maps: Mapping[str, NDArray[np.uint8]]) -> CameraView:
    """Return the head in the photo's expression through its camera.

    Args:
        maps: material to (S, S, 3) sRGB; a part without one is grey.
    """
    camera = head.camera
    # Lashes and corneas are clear for the most part.
    parts = [part for part in head.parts if not find_surface(part.material).transparent]
    meshes = [split_vertices(part) for part in parts]
    points, normals = [], []
    for part, mesh in zip(parts, meshes, strict=True):
        placed = _photographed(head, part) @ camera.rotation.T + camera.translation
        pixels = placed[:, :2] / placed[:, 2:] * camera.focal + camera.centre
        points.append(np.concatenate([pixels, placed[:, 2:]], axis=1)[mesh.vertices])
        upright = (placed * [1, -1, -1]).astype(np.float32)
        normals.append(find_normals(upright, part.quads)[mesh.vertices])
    firsts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    faces = np.concatenate([mesh.triangles + first for mesh, first in zip(meshes, firsts, strict=True)])
    owner = np.repeat(np.arange(len(meshes)), [len(mesh.triangles) for mesh in meshes])
    seen = rasterise(np.concatenate(points).astype(np.float32), faces, camera.height, camera.width)
    corner, weights = faces[seen.triangles], seen.weights[..., None]
    place = (np.concatenate([mesh.uvs for mesh in meshes])[corner] * weights).sum(1)
    normal = (np.concatenate(normals)[corner] * weights).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    albedo = np.full((len(seen.pixels), 3), 0.4, np.float32)
    for index, part in enumerate(parts):
        own = owner[seen.triangles] == index
        if part.material in maps:
            texture = load_texture(maps[part.material])
            size = np.array(texture.shape[1::-1])
            column, row = np.clip((place[own] * [1, -1] + [0, 1]) * size, 0, size - 1).astype(int).T
            albedo[own] = texture[row, column]

    def spread(values: NDArray[Any], empty: float) -> NDArray[Any]:
        picture = np.full((camera.height * camera.width, *values.shape[1:]), empty, values.dtype)
        picture[seen.pixels] = values
        return picture.reshape(camera.height, camera.width, *values.shape[1:])

    return CameraView(
        part=spread(owner[seen.triangles], -1),
        materials=tuple(part.material for part in parts),
        albedo=spread(albedo, 0),
        normals=spread(normal.astype(np.float32), 0),
    )


def _photographed(head: Head, part: MeshPart) -> FloatArray:
    """Return a part's positions (V, 3) with the photo's expression."""
    if head.expression_in_base:
        return part.positions
    moved: FloatArray = part.positions + np.tensordot(head.expression, part.morph_deltas, 1)
    return moved
