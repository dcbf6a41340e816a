"""Engine `null`: the contract's shapes, without its work."""

import numpy as np
import pytest

from face3d.errors import ConfigurationError, EngineUnavailable
from face3d.head import ARKIT_NAMES, head_from_tensors
from face3d.messages import dump_result, load_result
from face3d.options import JobOptions
from face3d.settings import Settings
from gpu_workers.engines.null.head import make_head
from gpu_workers.engines.registry import load_engine
from gpu_workers.photo_limits import PhotoLimits

OPTIONS = JobOptions(engine="null")


@pytest.fixture(scope="module")
def engine():
    return load_engine("null", Settings(), "cpu")


def test_results_keep_the_contract_through_the_wire(engine) -> None:
    prepared = load_result(dump_result(engine.preprocess(b"no image at all", OPTIONS, PhotoLimits())))
    geometry = load_result(dump_result(engine.geometry(prepared, OPTIONS)))
    baked = load_result(dump_result(engine.texture(prepared, geometry, OPTIONS)))
    head = head_from_tensors(geometry.tensors)
    assert prepared.tensors["photo"].dtype == np.uint8
    assert prepared.tensors["photo"].shape == (head.camera.height, head.camera.width, 3)
    assert [part.name for part in head.parts] == ["skin", "eye_left", "eye_right"]
    assert {f"albedo/{part.material}" for part in head.parts} == set(baked.tensors)
    assert baked.facts["texture_size"] == baked.tensors["albedo/skin"].shape[0]
    assert sum(baked.facts["texel_shares"].values()) == pytest.approx(1)
    assert geometry.facts["quality"] == "review"


def test_option_expression_is_obeyed(engine) -> None:
    prepared = engine.preprocess(b"", OPTIONS, PhotoLimits())
    for value, flag in (("neutral", False), ("photo", True)):
        result = engine.geometry(prepared, JobOptions(engine="null", expression=value))
        assert head_from_tensors(result.tensors).expression_in_base is flag


@pytest.mark.parametrize("part", make_head().parts, ids=lambda part: part.name)
def test_parts_are_sound_meshes(part) -> None:
    assert part.quads.max() == len(part.positions) - 1
    assert part.uv_quads.max() < len(part.uvs)
    assert part.quads.shape == part.uv_quads.shape
    assert part.uvs.min() >= 0
    assert part.uvs.max() <= 1
    assert part.morph_deltas.shape == (len(ARKIT_NAMES), len(part.positions), 3)
    assert (np.abs(part.morph_deltas).max((1, 2)) > 1e-5).all(), "a shape moves nothing"


@pytest.mark.parametrize("part", make_head().parts, ids=lambda part: part.name)
def test_parts_are_closed_and_face_outwards(part) -> None:
    edges: dict[tuple[int, int], int] = {}
    for quad in part.quads.tolist():
        face = list(dict.fromkeys(quad))
        for start, stop in zip(face, face[1:] + face[:1], strict=True):
            edges[start, stop] = edges.get((start, stop), 0) + 1
    assert set(edges.values()) == {1}
    assert all((stop, start) in edges for start, stop in edges)
    centre = part.positions.mean(0)
    corners = part.positions[part.quads[:, :3]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (((corners.mean(1) - centre) * normal).sum(1) > 0).all()


def test_registry_builds_an_engine_once() -> None:
    assert load_engine("null", Settings(), "cpu") is load_engine("null", Settings(), "cpu")


def test_registry_names_what_it_cannot_give() -> None:
    with pytest.raises(EngineUnavailable, match="anny"):
        load_engine("hrn", Settings(), "cpu")
    with pytest.raises(ConfigurationError, match="nonesuch"):
        load_engine("nonesuch", Settings(), "cpu")
