"""Composition of an asset's files out of what the stages left. Pure: bytes and arrays in, bytes out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np

from assets.coverage import split_coverage
from assets.gltf import write_glb
from assets.keys import list_formulas, list_keys
from assets.levels import head_at_level
from assets.manifest import (
    EngineEntry,
    FileEntry,
    Manifest,
    QualityReport,
    Source,
    StageEntry,
    collect_reasons,
    describe_camera,
    describe_file,
    describe_reasons,
    describe_skeleton,
    describe_slots,
    dump_options,
    grade,
    list_labels,
    make_finite,
)
from assets.maps import select_asset_maps, select_embedded_maps
from assets.materials import (
    NORMAL,
    find_surface,
    name_coverage_map,
    name_map,
    name_opaque_map,
    name_surface_map,
)
from assets.native_face import build_front
from assets.obj import write_mtl, write_obj
from assets.preview.picture import render_preview
from assets.seam import describe_seam
from face3d import __version__
from face3d.head import ARKIT_NAMES, VISEME_NAMES, Head
from face3d.options import JobOptions, LevelOfDetail
from face3d.stage_results import ByteArray, Facts, FittedHead, PreprocessedPhoto
from face3d.visemes import VISEME_RECIPES, VRM_RECIPES

#: The levels of detail that format `lods` adds, each in a file of its own.
_EXTRA_LEVELS: tuple[LevelOfDetail, ...] = (1, 2)

#: Facts of the geometry and texture stages that the manifest shows under names of its own.
_NAMED_FACTS = frozenset(
    {"scale_from", "quality", "quality_reasons", "coefficients", "texel_shares", "texel_density"}
)


def build_asset(
    *,
    job: str,
    source: Source,
    prepared: PreprocessedPhoto,
    geometry: FittedHead,
    baked: Facts,
    encoded: Mapping[str, bytes],
    options: JobOptions,
    engine: EngineEntry,
    stages: Sequence[StageEntry],
    described: Mapping[str, FileEntry] | None = None,
    created: datetime | None = None,
    ready: Callable[[str, bytes], None] = lambda _name, _data: None,
) -> dict[str, bytes]:
    """Return the files of an asset, file name to bytes; `manifest.json` is the last.

    Args:
        baked: the texture stage's facts.
        encoded: what `assets.maps.encode_maps` returned. Its `albedo*` files are returned as they are; they
            may be missing when `described` tells of them, and are then left to the caller to copy.
        described: entries of files that the caller copies by itself.
        created: the manifest's time; now when omitted.
        ready: told of each file as soon as it is made, while the others are still to come.
    """
    head = geometry.head
    textures = select_embedded_maps(encoded)
    lines = list_facts(geometry.facts, baked, options)
    files: dict[str, bytes] = {}
    entries = dict(described or {})
    for name, data in _build_files(prepared, geometry, textures, encoded, options, lines):
        ready(name, data)
        files[name], entries[name] = data, describe_file(data)
    facts = {"geometry": geometry.facts, "texture": baked}
    manifest = Manifest(
        job=job,
        created=created or datetime.now(UTC),
        source=source,
        options=dump_options(options),
        engine=engine,
        stages=list(stages),
        files=dict(sorted(entries.items())),
        scale_from=str(geometry.facts.get("scale_from", "template")),
        camera=describe_camera(head.camera),
        seam=describe_seam(head, options.lod),
        landmarks=np.round(np.asarray(prepared.landmarks, np.float64), 2).tolist(),
        identity=_find_identity(geometry.facts),
        expression={n: round(float(w), 4) for n, w in zip(ARKIT_NAMES, head.expression, strict=True)},
        expression_in_base=head.expression_in_base,
        texel_shares=baked.get("texel_shares", {}),
        texel_density=baked.get("texel_density", {}),
        keys=list(list_keys(head)),
        correctives=list_formulas(head),
        visemes={name: dict(recipe) for name, recipe in VISEME_RECIPES.items()},
        vrm_expressions={name: dict(recipe) for name, recipe in VRM_RECIPES.items()},
        slots=describe_slots(head, textures.keys()),
        skeleton=describe_skeleton(head.joints),
        quality=QualityReport(
            verdict=grade(geometry.facts, baked),
            reasons=list_labels(geometry.facts, baked),
        ),
        quality_reasons=describe_reasons(collect_reasons(geometry.facts, baked)),
        facts={stage: _leftover(all_facts) for stage, all_facts in facts.items()},
    )
    files["manifest.json"] = manifest.model_dump_json(indent=1).encode()
    ready("manifest.json", files["manifest.json"])
    return files


def _build_files(
    prepared: PreprocessedPhoto,
    geometry: FittedHead,
    textures: Mapping[str, bytes],
    encoded: Mapping[str, bytes],
    options: JobOptions,
    lines: Sequence[tuple[str, str]],
) -> Iterator[tuple[str, bytes]]:
    """Yield every file but the manifest."""
    yield from _write_shapes(geometry.head, prepared.photo, textures, options, lines)
    if geometry.native_face is not None:
        yield from build_front(geometry.head, geometry.native_face, textures, options).items()
    yield from select_asset_maps(encoded).items()


def _write_shapes(
    head: Head,
    photo: ByteArray,
    textures: Mapping[str, bytes],
    options: JobOptions,
    lines: Sequence[tuple[str, str]],
) -> Iterator[tuple[str, bytes]]:
    """Yield the files that follow from head, photo and maps alone."""
    generator = f"Face3D {__version__}"
    delivered = head_at_level(head, options.lod)
    with ThreadPoolExecutor(1, "preview") as beside:
        # It takes the longest: it is drawn while the others are written.
        drawn = None
        if "preview" in options.formats:
            drawn = beside.submit(render_preview, photo, delivered, textures, lines)
        if "glb" in options.formats:
            yield "head.glb", write_glb(delivered, textures, parts=options.parts, generator=generator)
        if "lods" in options.formats:
            for level in _EXTRA_LEVELS:
                finer_or_coarser = head_at_level(head, level)
                yield (
                    f"head_lod{level}.glb",
                    write_glb(finer_or_coarser, textures, parts=options.parts, generator=generator),
                )
        if "obj" in options.formats:
            yield from _write_obj_files(delivered, textures, options)
        if drawn is not None:
            yield "preview.png", drawn.result()


def _write_obj_files(
    head: Head, textures: Mapping[str, bytes], options: JobOptions
) -> Iterator[tuple[str, bytes]]:
    """Yield head.obj, the pictures that only head.mtl needs, and head.mtl."""
    yield "head.obj", write_obj(head, parts=options.parts)
    maps, coverage = {}, {}
    for material in dict.fromkeys(part.material for part in head.parts):
        if material not in textures:
            continue
        maps[material] = name_map(material, options.texture_format)
        if find_surface(material).transparent:
            maps[material], coverage[material] = name_opaque_map(material), name_coverage_map(material)
            yield from zip(
                (maps[material], coverage[material]), split_coverage(textures[material]), strict=True
            )
    normal = name_surface_map("normal", options.texture_format) if "skin" + NORMAL in textures else None
    yield "head.mtl", write_mtl(head, maps, coverage, normal=normal)


#: Shares of the face's texels in the order in which people read them; `fitted` is engine hrn's.
_SHARES = ("observed", "mirrored", "fitted", "completed")


def list_facts(
    geometry: Mapping[str, Any], texture: Mapping[str, Any], options: JobOptions
) -> list[tuple[str, str]]:
    """Return what the preview says of an asset in words: names and values."""
    verdict = grade(geometry, texture)
    # One fits in: one of those that the verdict follows from.
    decisive = [one.label for one in collect_reasons(geometry, texture) if one.verdict is verdict]
    reasons = [*decisive, *list_labels(geometry, texture)]
    lines = [("quality", verdict.value + (": " + reasons[0] if reasons else ""))]
    lines.append(
        ("texture", f"{options.texture_size} x {options.texture_size}, level of detail {options.lod}")
    )
    if density := texture.get("texel_density"):
        lines.append(("face, photo and map", f"{density['photo']:.0f} and {density['map']:.0f} px/cm"))
    if shares := texture.get("texel_shares"):
        named = [name for name in _SHARES if name in shares]
        lines.append((", ".join(named), " / ".join(f"{100 * shares[name]:.0f} %" for name in named)))
    if errors := geometry.get("reprojection_error"):
        lines.append(("landmarks, of eye distance", f"{100 * errors['final']:.2f} %"))
    lines.append(("shapes", f"{len(ARKIT_NAMES)} ARKit, {len(VISEME_NAMES)} visemes"))
    return lines


def _find_identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the engine's coefficients but for the expression, which the manifest gives by ARKit name."""
    coefficients = facts.get("coefficients", {})
    kept: dict[str, Any] = make_finite({k: v for k, v in coefficients.items() if k != "expression"})
    return kept


def _leftover(facts: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = make_finite({k: v for k, v in facts.items() if k not in _NAMED_FACTS})
    return kept
