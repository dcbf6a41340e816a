"""head.obj, head.mtl and the pictures that they name, read back by plain readers of our own.

What Blender, three.js and pymeshlab made of a real head stands in docs/reference/consumers.md.
"""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from assets.coverage import split_coverage
from assets.maps import encode_embedded_map
from assets.materials import find_surface
from assets.mesh import find_areas, find_normals
from assets.obj import write_mtl, write_obj
from face3d.head import Head, MeshPart
from face3d.options import JobOptions, PartsLayout
from tests.unit.assets.test_package import build
from tests.unit.assets.test_shapes import HEAD, clear_head


@pytest.mark.parametrize("parts", ["merged", "separate"])
def test_obj_keeps_quads_parts_and_uvs(parts: PartsLayout) -> None:
    lines = write_obj(HEAD, parts=parts).decode().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    uvs = np.array([line.split()[1:] for line in lines if line.startswith("vt ")], float)
    np.testing.assert_allclose(vertices, np.concatenate([p.positions for p in HEAD.parts]), atol=1e-6)
    np.testing.assert_allclose(uvs, np.concatenate([p.uvs for p in HEAD.parts]), atol=1e-6)
    faces = [[corner.split("/") for corner in line.split()[1:]] for line in lines if line.startswith("f ")]
    sizes = [len(face) for face in faces]
    expected = [len(set(quad)) for part in HEAD.parts for quad in part.quads.tolist()]
    assert sizes == expected
    corners = np.array([corner for face in faces for corner in face], int)
    assert (corners[:, 2] == corners[:, 0]).all(), "a normal a vertex: faces that meet are shaded smoothly"
    normals = np.array([line.split()[1:] for line in lines if line.startswith("vn ")], float)
    expected_normals = [find_normals(part.positions, part.quads) for part in HEAD.parts]
    np.testing.assert_allclose(normals, np.concatenate(expected_normals), atol=1e-4)
    assert corners.min() == 1
    triples = np.concatenate([vertices[corners[:, 0] - 1], uvs[corners[:, 1] - 1]], axis=1)
    flat = [
        np.concatenate([part.positions[v], part.uvs[u]])
        for part in HEAD.parts
        for quad, uv in zip(part.quads.tolist(), part.uv_quads.tolist(), strict=True)
        for v, u in list(zip(quad, uv, strict=True))[: len(set(quad))]
    ]
    np.testing.assert_allclose(triples, flat, atol=1e-6)
    objects = [line for line in lines if line.startswith(("o ", "g "))]
    assert objects == (["o head"] if parts == "merged" else [f"o {part.name}" for part in HEAD.parts])
    used = [line for line in lines if line.startswith("usemtl ")]
    assert used == ["usemtl skin", "usemtl eyes", "usemtl eyes"]


def read_mtl(text: str) -> dict[str, dict[str, str]]:
    """Return material to statement to its argument."""
    materials: dict[str, dict[str, str]] = {}
    for line in filter(None, text.splitlines()):
        keyword, _, argument = line.partition(" ")
        if keyword == "newmtl":
            materials[argument] = {}
        elif keyword != "#":
            materials[list(materials)[-1]][keyword] = argument
    return materials


def test_mtl_names_the_maps_beside_it() -> None:
    materials = read_mtl(write_mtl(HEAD, {"skin": "albedo.png", "eyes": "albedo_eyes.png"}).decode())
    assert {name: one["map_Kd"] for name, one in materials.items()} == {
        "skin": "albedo.png", "eyes": "albedo_eyes.png",
    }  # fmt: skip
    assert "norm" not in materials["skin"]
    rich = read_mtl(write_mtl(HEAD, {"skin": "albedo.png"}, normal="normal.png").decode())
    assert rich["skin"]["norm"] == "normal.png"
    assert "norm" not in rich["eyes"]


def test_every_material_is_as_rough_as_in_the_glb_without_pictures_that_blender_reads_as_colours() -> None:
    text = write_mtl(
        clear_head(), {"skin": "albedo.png", "lashes": "l.png"}, {"lashes": "c.png"}, normal="n.png"
    )
    materials = read_mtl(text.decode())
    assert list(materials) == ["skin", "eyes", "corneas", "lashes"]
    for name, one in materials.items():
        assert float(one["Pr"]) == find_surface(name.replace("corneas", "cornea")).roughness
        assert not {"map_Bump", "map_Pr", "bump"} & one.keys()
    assert float(materials["corneas"]["d"]) < 0.1


@pytest.mark.parametrize("material", ["skin", "eyes", "lashes"])
def test_highlights_are_as_strong_in_blender_and_in_three(material: str) -> None:
    one = read_mtl(write_mtl(clear_head(), {}).decode())[material]
    strength, index = float(one["Ks"].split()[0]), float(one["Ni"])
    mirrored = 0.04 * find_surface(material).specular
    as_srgb = ((strength + 0.055) / 1.055) ** 2.4
    assert as_srgb == pytest.approx(mirrored, rel=0.02), "three.js: Ks is an sRGB colour"
    assert 2 * strength * ((index - 1) / (index + 1)) ** 2 == pytest.approx(mirrored, rel=0.02), "Blender"


def test_coverage_is_the_same_in_whichever_channel_a_reader_looks() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (16, 24, 4), np.uint8)
    colour, covered = (Image.open(io.BytesIO(data)) for data in split_coverage(encode_embedded_map(pixels)))
    assert colour.mode == "RGB", "three.js would multiply the two coverages"
    np.testing.assert_array_equal(np.asarray(colour), pixels[..., :3])
    assert covered.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(covered), np.repeat(pixels[..., 3:], 4, axis=-1))


@pytest.mark.parametrize("texture_format", ["png", "webp", "jpeg"])
@pytest.mark.parametrize("formats", [("obj",), ("glb", "obj", "maps")])
def test_every_picture_that_the_materials_name_is_in_the_asset(
    texture_format: str, formats: tuple[str, ...]
) -> None:
    options = JobOptions(engine="null", formats=formats, texture_format=texture_format)
    files = build(options, lashes=True)
    materials = read_mtl(files["head.mtl"].decode())
    named = {
        value for one in materials.values() for key, value in one.items() if key.startswith(("map_", "norm"))
    }
    assert {"albedo_lashes_opaque.png", "coverage_lashes.png"} < named
    assert named <= set(files)
    assert all(re.fullmatch(r"[a-z_.]+", name) for name in named), "MeshLab loses names with spaces"
    with Image.open(io.BytesIO(files["coverage_lashes.png"])) as picture:
        assert picture.mode == "RGBA"


def test_only_colours_say_that_they_are_srgb() -> None:
    files = build(JobOptions(engine="null", formats=("glb", "obj", "maps")), lashes=True)
    told = {name: b"sRGB" in data for name, data in files.items() if name in ("albedo.png", "normal.png")}
    assert told == {"albedo.png": True, "normal.png": False}


def strip(*, facing: int, lift: float) -> MeshPart:
    """Two quads and a triangle in the plane z = 0 that look along +z or -z."""
    positions = np.array(
        [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 0], [3, 0, 0]], np.float32
    ) + np.float32([0, lift, 0])
    quads = np.array([[0, 1, 4, 3], [1, 2, 5, 4], [2, 6, 5, 5]], np.int32)
    if facing < 0:
        quads = np.array([[0, 3, 4, 1], [1, 4, 5, 2], [2, 5, 6, 6]], np.int32)
    return replace(
        HEAD.parts[0], name="lashes", material="lashes", positions=positions, quads=quads,
        uvs=positions[:, :2] / 4, uv_quads=quads, morph_deltas=np.zeros((52, 7, 3), np.float32),
        joint_weights=np.eye(6, dtype=np.float32)[[2] * 7],
    )  # fmt: skip


def test_strips_with_two_sides_look_to_the_front_where_the_format_has_one() -> None:
    """Lower lashes were gone in three.js, which shows the fronts of an OBJ's faces only."""
    ahead, back = strip(facing=1, lift=0), strip(facing=-1, lift=5)
    both = replace(
        ahead,
        positions=np.concatenate([ahead.positions, back.positions]),
        uvs=np.concatenate([ahead.uvs, back.uvs]),
        quads=np.concatenate([ahead.quads, back.quads + 7]),
        uv_quads=np.concatenate([ahead.uv_quads, back.uv_quads + 7]),
        morph_deltas=np.zeros((52, 14, 3), np.float32),
        joint_weights=np.eye(6, dtype=np.float32)[[2] * 14],
    )
    for part, looks in ((both, {1.0}), (replace(both, material="skin"), {1.0, -1.0})):
        lines = write_obj(Head(**{**vars(HEAD), "parts": (part,)})).decode().splitlines()
        faces = [[c.split("/") for c in line.split()[1:]] for line in lines if line.startswith("f ")]
        assert [len(face) for face in faces] == [4, 4, 3] * 2
        corners = np.array([[int(c[0]) - 1 for c in (face + face[-1:])[:4]] for face in faces], np.int32)
        assert set(np.sign(find_areas(part.positions, corners)[:, 2])) == looks
        normals = np.array([line.split()[1:] for line in lines if line.startswith("vn ")], float)
        assert set(np.unique(normals[:, 2])) == looks
        for face in faces:
            for v, vt, vn in face:
                assert v == vt == vn, "uvs turn with the corners"
