"""head.glb, read back by a plain reader of our own."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assets.gltf import write_glb
from assets.jpeg import encode_jpeg
from assets.keys import find_deltas
from assets.maps import encode_embedded_map
from assets.mesh import find_normals, split_quads, split_vertices
from assets.morphs import SMALLEST_MOVE, SMALLEST_TURN, MorphFinder
from face3d.head import ARKIT_NAMES, VISEME_NAMES, Head, MeshPart
from face3d.options import PartsLayout
from gpu_workers.engines.null.head import make_head
from tests.unit.assets.glb_support import read_accessor, read_glb

ROOT = Path(__file__).resolve().parents[3]
HEAD = make_head()
TEXTURES = {
    "skin": encode_jpeg(np.full((64, 64, 3), (200, 150, 120), np.uint8)),
    "eyes": encode_jpeg(np.full((64, 64, 3), 230, np.uint8)),
}


@pytest.fixture(scope="module")
def glb() -> bytes:
    return write_glb(HEAD, TEXTURES, copyright_text="nobody")


def test_every_part_is_a_named_mesh_with_all_shapes() -> None:
    document, binary = read_glb(write_glb(HEAD, TEXTURES, parts="separate"))
    assert [mesh["name"] for mesh in document["meshes"]] == [part.name for part in HEAD.parts]
    with_mesh = [node["name"] for node in document["nodes"] if "mesh" in node]
    assert with_mesh == [part.name for part in HEAD.parts]
    assert [material["name"] for material in document["materials"]] == ["skin", "eyes"]
    for mesh, part in zip(document["meshes"], HEAD.parts, strict=True):
        assert tuple(mesh["extras"]["targetNames"][:52]) == ARKIT_NAMES
        (primitive,) = mesh["primitives"]
        split = split_vertices(part)
        positions = read_accessor(document, binary, primitive["attributes"]["POSITION"])
        np.testing.assert_array_equal(positions, part.positions[split.vertices])
        for k, target in enumerate(primitive["targets"][:52]):
            moved = read_accessor(document, binary, target["POSITION"])
            np.testing.assert_allclose(moved, part.morph_deltas[k][split.vertices], atol=5.7e-5)


def test_morphed_normals_are_those_of_the_morphed_mesh(glb: bytes) -> None:
    document, binary = read_glb(glb)
    part, primitive = HEAD.parts[0], document["meshes"][0]["primitives"][0]
    split = split_vertices(part)
    base = read_accessor(document, binary, primitive["attributes"]["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(base, axis=1), 1, atol=1e-5)
    k = ARKIT_NAMES.index("jawOpen")
    turned = base + read_accessor(document, binary, primitive["targets"][k]["NORMAL"])
    expected = find_normals(part.positions + part.morph_deltas[k], part.quads)
    np.testing.assert_allclose(turned, expected[split.vertices], atol=1.2e-2)


def plain_normals(positions: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """The reference implementation: half the cross product of a face's diagonals, summed at its corners."""
    normals = np.zeros(positions.shape)
    for quad in quads.tolist():
        a, b, c, d = positions[quad].astype(float)
        for vertex in set(quad):
            normals[vertex] += np.cross(c - a, d - b) / 2
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def check_morphs(part: MeshPart, shapes: Sequence[int]) -> None:
    """Compare the morphs of some shapes with plain arithmetic on unsplit vertices."""
    split = split_vertices(part)
    finder = MorphFinder(part, split, find_deltas(part))
    rest = plain_normals(part.positions, part.quads)
    np.testing.assert_allclose(finder.normals, rest, atol=1e-5)
    morphs = list(finder.find_all())
    assert len(morphs) == len(ARKIT_NAMES) + len(VISEME_NAMES)
    for k in shapes:
        deltas = part.morph_deltas[k]
        expected = plain_normals(part.positions + deltas, part.quads) - rest
        for found, plain, smallest, atol in (
            (morphs[k].moves, deltas, SMALLEST_MOVE, 1e-8),
            (morphs[k].turns, expected, SMALLEST_TURN, 1e-5),
        ):
            wanted = plain[split.vertices]
            missing = np.linalg.norm(found.vectors - wanted[found.vertices], axis=1)
            assert missing.max(initial=0) <= 1.13 * smallest + atol
            whole = np.linalg.norm(found.vectors, axis=1) > 3 * smallest + atol
            assert missing[whole].max(initial=0) <= atol
            assert (np.diff(found.vertices) > 0).all()
            left_out = np.delete(np.linalg.norm(wanted, axis=1), found.vertices)
            assert left_out.max(initial=0) <= smallest + atol
        if len(morphs[k].moves.vertices):
            np.testing.assert_array_equal(morphs[k].moves.bounds[0], morphs[k].moves.vectors.min(0))
            np.testing.assert_array_equal(morphs[k].moves.bounds[1], morphs[k].moves.vectors.max(0))


def test_morphs_agree_with_their_plain_twin_at_rest_and_in_a_shape() -> None:
    check_morphs(HEAD.part("skin"), [ARKIT_NAMES.index(name) for name in ("jawOpen", "eyeBlinkLeft")])


@pytest.mark.parametrize("storage", ["by shape", "by vertex"])
def test_morphs_of_a_part_with_triangles_poles_and_shapes_that_leave_it_alone(storage: str) -> None:
    # Around vertex 0 lie six triangles, and a quad hangs on their rim.
    around = np.radians(60 * np.arange(6))
    rim = np.stack([np.cos(around), np.sin(around), 0.1 * np.cos(3 * around)], axis=1)
    positions = np.array([[0, 0, 0.3], *rim, [2, 0, 0], [1.5, 1, 0.2]], np.float32)
    quads = np.array(
        [[0, i + 1, (i + 1) % 6 + 1, (i + 1) % 6 + 1] for i in range(6)] + [[1, 7, 8, 2]], np.int32
    )
    deltas = np.zeros((len(ARKIT_NAMES), len(positions), 3), np.float32)
    deltas[3, 0], deltas[3, 8], deltas[20, 7], deltas[51] = (0.1, 0, 0), (1e-5, 0, 0), (0, 0.2, 0.4), 0.05
    if storage == "by vertex":
        deltas = np.ascontiguousarray(deltas.transpose(1, 0, 2)).transpose(1, 0, 2)
    part = MeshPart(
        name="cap", material="skin", positions=positions, quads=quads, uvs=positions[:, :2] / 4 + 0.5,
        uv_quads=quads, morph_deltas=deltas,
        joint_weights=np.eye(6, dtype=np.float32)[[2] * len(positions)],
    )  # fmt: skip
    check_morphs(part, range(len(ARKIT_NAMES)))


def test_threads_that_share_the_shapes_change_nothing(glb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for threads in (1, 3):
        monkeypatch.setattr("assets.pieces.ARRAY_THREADS", threads)
        assert write_glb(HEAD, TEXTURES, copyright_text="nobody") == glb


def test_texture_coordinates_run_down_and_images_are_inside(glb: bytes) -> None:
    document, binary = read_glb(glb)
    primitive = document["meshes"][0]["primitives"][0]
    uvs = read_accessor(document, binary, primitive["attributes"]["TEXCOORD_0"])
    positions = read_accessor(document, binary, primitive["attributes"]["POSITION"])
    assert uvs[positions[:, 1].argmax(), 1] < uvs[positions[:, 1].argmin(), 1]
    for image, name in zip(document["images"], ("skin", "eyes"), strict=True):
        view = document["bufferViews"][image["bufferView"]]
        assert image["mimeType"] == "image/jpeg"
        assert binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]] == TEXTURES[name]


def test_further_maps_of_the_skin_are_its_normals_occlusion_and_roughness() -> None:
    textures = {**TEXTURES, "skin.normal": TEXTURES["skin"], "skin.orm": TEXTURES["eyes"]}
    document, binary = read_glb(write_glb(HEAD, textures))
    skin, eyes = document["materials"][:2]
    names = [document["images"][texture["source"]]["name"] for texture in document["textures"]]
    assert names[skin["normalTexture"]["index"]] == "normal_skin"
    packed = skin["occlusionTexture"]["index"]
    assert names[packed] == "occlusion_roughness_metalness_skin"
    assert skin["pbrMetallicRoughness"]["metallicRoughnessTexture"]["index"] == packed
    assert skin["pbrMetallicRoughness"]["roughnessFactor"] == 1
    view = document["bufferViews"][document["images"][packed]["bufferView"]]
    assert binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]] == TEXTURES["eyes"]
    assert not {"normalTexture", "occlusionTexture"} & eyes.keys()


def clear_head() -> Head:
    """A head with two transparent parts: a cornea, which has no map, and lashes, which have one."""
    left, right = (replace(HEAD.part(f"eye_{side}"), name=f"cornea_{side}") for side in ("left", "right"))
    lashes = replace(right, name="lashes_right", material="lashes")
    parts = (*HEAD.parts, replace(left, material="cornea"), lashes)
    return replace(HEAD, parts=parts)


def test_corneas_and_lashes_are_blended() -> None:
    coverage = encode_embedded_map(np.full((8, 8, 4), (30, 20, 20, 128), np.uint8))
    document, _ = read_glb(write_glb(clear_head(), {**TEXTURES, "lashes": coverage}))
    materials = {material["name"]: material for material in document["materials"]}
    assert [name for name, material in materials.items() if material.get("alphaMode") == "BLEND"] == [
        "corneas", "lashes",
    ]  # fmt: skip
    cornea = materials["corneas"]["pbrMetallicRoughness"]
    assert cornea["baseColorFactor"][3] < 0.1, "a film that nobody sees, where transmission is not known"
    extensions = materials["corneas"]["extensions"]
    assert extensions["KHR_materials_transmission"] == {"transmissionFactor": 1.0}
    assert extensions["KHR_materials_ior"] == {"ior": 1.376}
    (mirroring,) = set(extensions["KHR_materials_specular"]["specularColorFactor"])
    assert mirroring * cornea["baseColorFactor"][3] == pytest.approx(1), "coverage takes no highlight away"
    assert cornea["roughnessFactor"] < 0.1 < materials["eyes"]["pbrMetallicRoughness"]["roughnessFactor"]
    image = document["images"][materials["lashes"]["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
    assert image["mimeType"] == "image/png"
    used = ["KHR_materials_ior", "KHR_materials_specular", "KHR_materials_transmission"]
    assert document["extensionsUsed"] == used
    assert "extensionsRequired" not in document
    assert "KHR_materials_specular" in materials["lashes"]["extensions"]


def test_a_head_without_textures_has_no_images() -> None:
    document, _ = read_glb(write_glb(HEAD, {}))
    assert "images" not in document
    assert all("baseColorFactor" in m["pbrMetallicRoughness"] for m in document["materials"])


def test_triangles_of_a_mixed_mesh() -> None:
    quads = np.array([[0, 1, 2, 3], [4, 5, 6, 6], [3, 2, 1, 0]], np.int32)
    expected = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [3, 2, 1], [3, 1, 0]]
    assert split_quads(quads).tolist() == expected


@pytest.mark.validator
@pytest.mark.parametrize("parts", ["merged", "separate"])
@pytest.mark.parametrize("maps", [False, True])
def test_khronos_validator_finds_nothing(maps: bool, parts: PartsLayout, tmp_path: Path) -> None:
    further = {"skin.normal": TEXTURES["skin"], "skin.orm": TEXTURES["eyes"]} if maps else {}
    glb = write_glb(clear_head(), {**TEXTURES, **further}, parts=parts, copyright_text="nobody")
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    path = tmp_path / "head.glb"
    path.write_bytes(glb)
    script = ROOT / "tests" / "validator" / "validate.mjs"
    run = subprocess.run([node, script, path], capture_output=True, text=True, check=False)
    if run.returncode == 3:
        pytest.skip("gltf-validator is not installed: npm install gltf-validator")
    assert run.returncode == 0, run.stderr
    issues = json.loads(run.stdout)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
