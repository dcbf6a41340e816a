"""head.glb as one head: slots, keys, skeleton."""

from dataclasses import replace

import numpy as np
import pytest

from assets import keys
from assets.gltf import write_glb
from assets.mesh import split_vertices
from assets.preview.scene import aim_camera, pose_head
from assets.skinning import pack_weights
from assets.slots import find_slots
from face3d import head as head_module
from face3d.head import ARKIT_NAMES, JOINT_NAMES, VISEME_NAMES, Head, add_correctives
from face3d.visemes import VISEME_RECIPES, VRM_RECIPES
from tests.unit.assets.glb_support import read_accessor, read_glb
from tests.unit.assets.test_shapes import HEAD, TEXTURES, clear_head
from tests.unit.head.head_support import astronaut_geometry


def assert_no_key_is_empty(head: Head) -> None:
    document, binary = read_glb(write_glb(head, {}))
    (mesh,) = document["meshes"]
    moved = dict.fromkeys(mesh["extras"]["targetNames"], 0.0)
    for primitive in mesh["primitives"]:
        for name, target in zip(moved, primitive["targets"], strict=True):
            far = np.abs(read_accessor(document, binary, target["POSITION"])).max()
            moved[name] = max(moved[name], float(far))
    assert list(moved)[:66] == [*ARKIT_NAMES, *VISEME_NAMES]
    assert not [name for name, far in moved.items() if far < 1e-4]


def test_a_head_is_one_mesh_whose_primitives_are_its_slots() -> None:
    head = astronaut_geometry().head
    document, binary = read_glb(write_glb(head, {"mouth": TEXTURES["skin"]}))
    (mesh,) = document["meshes"]
    named = [document["materials"][one["material"]] for one in mesh["primitives"]]
    slots = find_slots(head)
    assert [material["name"] for material in named] == [slot.name for slot in slots]
    assert {"skin", "eyes", "corneas", "lashes", "teeth", "gums", "tongue"} <= {slot.name for slot in slots}
    assert len(document["images"]) == 1, "teeth, gums and tongue share one picture"
    for primitive, slot in zip(mesh["primitives"], slots, strict=True):
        points = read_accessor(document, binary, primitive["attributes"]["POSITION"])
        expected = np.concatenate([part.positions for part in slot.parts])
        np.testing.assert_allclose(points.min(0), expected.min(0))
        np.testing.assert_allclose(points.max(0), expected.max(0))
        corners = read_accessor(document, binary, primitive["indices"])
        assert corners.max() == len(points) - 1


def test_both_layouts_hold_the_same_vertices_keys_and_weights() -> None:
    rows = {}
    for parts in ("merged", "separate"):
        document, binary = read_glb(write_glb(HEAD, TEXTURES, parts=parts))
        found = []
        for mesh in document["meshes"]:
            for primitive in mesh["primitives"]:
                targets = [read_accessor(document, binary, one["POSITION"]) for one in primitive["targets"]]
                attributes = [read_accessor(document, binary, a) for a in primitive["attributes"].values()]
                found.append(np.concatenate([*attributes, *targets], axis=1))
        rows[parts] = np.concatenate(found)
    np.testing.assert_array_equal(rows["merged"], rows["separate"])


def test_no_key_is_empty_over_the_whole_head() -> None:
    assert_no_key_is_empty(HEAD)
    assert_no_key_is_empty(astronaut_geometry().head)


def test_a_viseme_is_the_sum_of_its_recipe() -> None:
    part = HEAD.parts[0]
    deltas = keys.find_deltas(part)
    assert deltas.shape == (len(part.positions), 66, 3)
    for name, recipe in VISEME_RECIPES.items():
        expected = sum(w * part.morph_deltas[ARKIT_NAMES.index(shape)] for shape, w in recipe.items())
        found = deltas[:, len(ARKIT_NAMES) + VISEME_NAMES.index(name)]
        np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("recipes", [VISEME_RECIPES, VRM_RECIPES])
def test_recipes_are_of_shapes_and_stay_in_range(recipes: dict[str, dict[str, float]]) -> None:
    for recipe in recipes.values():
        assert set(recipe) <= set(ARKIT_NAMES)
        assert all(0 < weight <= 1 for weight in recipe.values())


def test_correctives_stand_after_the_66_and_weigh_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("mouthSmileLeft")
    monkeypatch.setattr(head_module, "CORRECTIVE_NAMES", ("jawOpen__mouthSmileLeft",))
    for module in (head_module, keys):
        monkeypatch.setattr(module, "CORRECTIVE_PAIRS", ((one, other),))
    extra = np.full((1, len(HEAD.parts[0].positions), 3), 0.01, np.float32)
    skin = replace(HEAD.parts[0], morph_deltas=np.concatenate([HEAD.parts[0].morph_deltas, extra]))
    head = replace(HEAD, parts=(skin,))
    assert keys.list_keys(head)[66:] == ("jawOpen__mouthSmileLeft",)
    assert keys.list_formulas(head) == {"jawOpen__mouthSmileLeft": ("jawOpen", "mouthSmileLeft")}
    np.testing.assert_array_equal(keys.find_deltas(skin)[:, 66], extra[0])
    weights = np.zeros(52, np.float32)
    weights[[one, other]] = 0.5, 0.8
    np.testing.assert_allclose(add_correctives(weights, 1)[52:], [0.4])
    # The preview's poses have it, too.
    camera = aim_camera((64, 64))
    with_it, without = (
        pose_head(replace(head, parts=(part,)), camera, weights=weights).positions
        for part in (skin, HEAD.parts[0])
    )
    expected = 0.4 * extra[0] @ camera.rotation.T * [1, -1, -1]
    np.testing.assert_allclose(with_it - without, expected[split_vertices(skin).vertices], atol=1e-6)


def test_the_skeleton_rests_where_the_mesh_was_bound() -> None:
    head = astronaut_geometry().head
    document, binary = read_glb(write_glb(head, {}))
    (skin,) = document["skins"]
    nodes = document["nodes"]
    assert [nodes[joint]["name"] for joint in skin["joints"]] == [f"{name}_joint" for name in JOINT_NAMES]
    parents = {child: k for k, node in enumerate(nodes) for child in node.get("children", [])}
    binds = read_accessor(document, binary, skin["inverseBindMatrices"]).reshape(-1, 4, 4)
    for joint, bind, wanted in zip(skin["joints"], binds, head.joints, strict=True):
        place, node = np.zeros(3), joint
        while node is not None:
            place, node = place + nodes[node]["translation"], parents.get(node)
        np.testing.assert_allclose(place, wanted.position, atol=1e-6)
        np.testing.assert_allclose(bind[3, :3], -place, atol=1e-6)
        np.testing.assert_array_equal(bind[:3, :3], np.eye(3))
        assert nodes[joint]["extras"]["limits_degrees"]["x"] == list(wanted.limits[0])
    assert nodes[skin["joints"][3]]["extras"]["turns_degrees"]["jawOpen"][0] > 10
    meshes = [node for node in nodes if "mesh" in node]
    assert all(node["skin"] == 0 for node in meshes)
    for primitive in document["meshes"][0]["primitives"]:
        shares = read_accessor(document, binary, primitive["attributes"]["WEIGHTS_0"])
        assert (shares.astype(int).sum(1) == 65535).all()


def test_a_vertex_keeps_its_largest_shares() -> None:
    weights = np.array([[0.1, 0.2, 0.3, 0.1, 0.2, 0.1], [0, 0, 1, 0, 0, 0]], np.float32)
    joints, shares = pack_weights(weights)
    assert joints.tolist() == [[2, 1, 4, 0], [2, 0, 0, 0]]
    assert shares.sum(1, dtype=int).tolist() == [65535, 65535]
    np.testing.assert_allclose(shares[0] / 65535, np.array([0.3, 0.2, 0.2, 0.1]) / 0.8, atol=1e-4)


def test_slots_join_sides_and_rows() -> None:
    names = [slot.name for slot in find_slots(clear_head())]
    assert names == ["skin", "eyes", "corneas", "lashes"]
    neck = replace(HEAD.parts[0], name="neck_cap")
    assert find_slots(replace(HEAD, parts=(neck,)))[0].name == "neck_cap"
