"""head.glb, read back by a plain reader of our own."""

import json
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assets.gltf import write_glb
from assets.jpeg import encode_jpeg
from assets.maps import encode_embedded_map
from assets.mesh import find_normals, split_quads, split_vertices
from assets.morphs import SMALLEST_MOVE, SMALLEST_TURN, MorphFinder
from face3d.head import ARKIT_NAMES, Head, MeshPart
from gpu_workers.engines.null.head import make_head

ROOT = Path(__file__).resolve().parents[3]
HEAD = make_head()
TEXTURES = {
    "skin": encode_jpeg(np.full((64, 64, 3), (200, 150, 120), np.uint8)),
    "eyes": encode_jpeg(np.full((64, 64, 3), 230, np.uint8)),
}


def read_glb(data: bytes) -> tuple[dict, bytes]:
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[20 + length + 8 :]


def read_accessor(document: dict, binary: bytes, index: int) -> np.ndarray:
    accessor = document["accessors"][index]
    types = {5126: np.float32, 5125: np.uint32, 5123: np.uint16}
    columns = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[accessor["type"]]

    def view(number: int, kind: type) -> np.ndarray:
        part = document["bufferViews"][number]
        return np.frombuffer(binary, kind, part["byteLength"] // np.dtype(kind).itemsize, part["byteOffset"])

    kind = types[accessor["componentType"]]
    if "bufferView" in accessor:
        values = view(accessor["bufferView"], kind).reshape(-1, columns).copy()
    else:
        values = np.zeros((accessor["count"], columns), kind)
    if "sparse" in accessor:
        indices = accessor["sparse"]["indices"]
        rows = view(indices["bufferView"], types[indices["componentType"]])
        values[rows] = view(accessor["sparse"]["values"]["bufferView"], kind).reshape(-1, columns)
    assert len(values) == accessor["count"]
    if "min" in accessor:
        np.testing.assert_allclose(values.min(0), accessor["min"], atol=0)
        np.testing.assert_allclose(values.max(0), accessor["max"], atol=0)
    return values


@pytest.fixture(scope="module")
def glb() -> bytes:
    return write_glb(HEAD, TEXTURES, copyright_text="nobody")


def test_every_part_is_a_named_mesh_with_all_shapes(glb: bytes) -> None:
    document, binary = read_glb(glb)
    assert [mesh["name"] for mesh in document["meshes"]] == [part.name for part in HEAD.parts]
    assert {node["name"] for node in document["nodes"]} == {"head", *(part.name for part in HEAD.parts)}
    assert [material["name"] for material in document["materials"]] == ["skin", "eyes"]
    for mesh, part in zip(document["meshes"], HEAD.parts, strict=True):
        assert tuple(mesh["extras"]["targetNames"]) == ARKIT_NAMES
        (primitive,) = mesh["primitives"]
        split = split_vertices(part)
        positions = read_accessor(document, binary, primitive["attributes"]["POSITION"])
        np.testing.assert_array_equal(positions, part.positions[split.vertices])
        for k, target in enumerate(primitive["targets"]):
            moved = read_accessor(document, binary, target["POSITION"])
            np.testing.assert_allclose(moved, part.morph_deltas[k][split.vertices], atol=2.1e-6)


def test_morphed_normals_are_those_of_the_morphed_mesh(glb: bytes) -> None:
    document, binary = read_glb(glb)
    part, primitive = HEAD.parts[0], document["meshes"][0]["primitives"][0]
    split = split_vertices(part)
    base = read_accessor(document, binary, primitive["attributes"]["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(base, axis=1), 1, atol=1e-5)
    k = ARKIT_NAMES.index("jawOpen")
    turned = base + read_accessor(document, binary, primitive["targets"][k]["NORMAL"])
    expected = find_normals(part.positions + part.morph_deltas[k], part.quads)
    np.testing.assert_allclose(turned, expected[split.vertices], atol=5e-3)


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
    finder = MorphFinder(part, split)
    rest = plain_normals(part.positions, part.quads)
    np.testing.assert_allclose(finder.normals, rest, atol=1e-5)
    morphs = list(finder.find_all())
    assert len(morphs) == len(ARKIT_NAMES)
    for k in shapes:
        deltas = part.morph_deltas[k]
        expected = plain_normals(part.positions + deltas, part.quads) - rest
        for found, plain, smallest, atol in (
            (morphs[k].moves, deltas, SMALLEST_MOVE, 0),
            (morphs[k].turns, expected, SMALLEST_TURN, 1e-5),
        ):
            wanted = plain[split.vertices]
            np.testing.assert_allclose(
                found.vectors, wanted[found.vertices], rtol=1e-6 if atol else 0, atol=atol
            )
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
    deltas[3, 0], deltas[3, 8], deltas[20, 7], deltas[51] = (0.1, 0, 0), (1e-6, 0, 0), (0, 0.2, 0.4), 0.05
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
        monkeypatch.setattr("assets.gltf.ARRAY_THREADS", threads)
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
    parts = (*HEAD.parts, replace(left, material="cornea"), replace(right, material="lashes"))
    return replace(HEAD, parts=parts)


def test_corneas_and_lashes_are_blended() -> None:
    coverage = encode_embedded_map(np.full((8, 8, 4), (30, 20, 20, 128), np.uint8))
    document, _ = read_glb(write_glb(clear_head(), {**TEXTURES, "lashes": coverage}))
    materials = {material["name"]: material for material in document["materials"]}
    assert [name for name, material in materials.items() if material.get("alphaMode") == "BLEND"] == [
        "cornea", "lashes",
    ]  # fmt: skip
    cornea = materials["cornea"]["pbrMetallicRoughness"]
    assert cornea["baseColorFactor"][3] < 0.3
    assert cornea["roughnessFactor"] < 0.1 < materials["eyes"]["pbrMetallicRoughness"]["roughnessFactor"]
    image = document["images"][materials["lashes"]["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
    assert image["mimeType"] == "image/png"
    assert document["extensionsUsed"] == ["KHR_materials_specular"], "lashes hardly mirror"
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
@pytest.mark.parametrize("maps", [False, True])
def test_khronos_validator_finds_nothing(maps: bool, tmp_path: Path) -> None:
    further = {"skin.normal": TEXTURES["skin"], "skin.orm": TEXTURES["eyes"]} if maps else {}
    glb = write_glb(clear_head(), {**TEXTURES, **further}, copyright_text="nobody")
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
