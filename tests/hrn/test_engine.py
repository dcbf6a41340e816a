"""Engine hrn behind the contract, from a photo to the files of an asset."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from assets.manifest import EngineEntry, Source
from assets.maps import encode_maps
from assets.package import build_asset
from face3d.artifact_format import dump_result, load_result
from face3d.errors import EngineUnavailable
from face3d.options import JobOptions
from face3d.settings import Settings
from face3d.stage_results import BakedMaps, FittedHead, PreprocessedPhoto
from gpu_workers.engines.hrn import wrapped_head
from gpu_workers.engines.hrn.engine import HrnEngine
from gpu_workers.engines.hrn.files import FRONT_FACES, FRONT_VERTICES
from gpu_workers.engines.registry import load_engine
from gpu_workers.photo_limits import PhotoLimits

OPTIONS = JobOptions(engine="hrn", texture_size=1024, formats=("glb", "obj", "front"))


def cross(result: PreprocessedPhoto | FittedHead) -> PreprocessedPhoto | FittedHead:
    """Return what arrives on another machine."""
    return load_result(type(result), dump_result(result))


@pytest.fixture(scope="module")
def stages(engine: HrnEngine) -> tuple[PreprocessedPhoto, FittedHead, BakedMaps]:
    """What the three stages leave of the astronaut (NASA, public domain)."""
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(buffer, "PNG")
    prepared = cross(engine.preprocess(buffer.getvalue(), OPTIONS, PhotoLimits()))
    geometry = cross(engine.geometry(prepared, OPTIONS))
    return prepared, geometry, engine.texture(prepared, geometry, OPTIONS)


def test_the_head_is_the_same_kind_as_engine_annys(engine: HrnEngine, stages) -> None:
    prepared, geometry, _ = stages
    head = geometry.head
    plain = engine.head.geometry(prepared, OPTIONS).head
    for part, other in zip(head.parts, plain.parts, strict=True):
        assert (part.name, part.material) == (other.name, other.material)
        np.testing.assert_array_equal(part.quads, other.quads)
        np.testing.assert_array_equal(part.uvs, other.uvs)
        assert part.morph_deltas.shape == other.morph_deltas.shape
        # The synthetic front is no face, and the head does not follow it.
        np.testing.assert_allclose(part.positions, other.positions, atol=5e-4)
    assert geometry.facts["front"]["moved_mm"]["median"] == 0
    assert geometry.facts["quality"] == "review"
    assert "front_disagrees" in {reason["code"] for reason in geometry.facts["quality_reasons"]}


def test_the_head_follows_a_front_that_is_believed(
    engine: HrnEngine, stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, before, _ = stages
    monkeypatch.setattr(wrapped_head, "DISAGREEMENT", 1.0)
    believed = engine.geometry(prepared, OPTIONS)
    skins = [one.head.part("skin").positions for one in (before, believed)]
    assert 0.002 < np.abs(skins[1] - skins[0]).max() < 0.03
    assert believed.facts["front"]["moved_mm"]["median"] > 1


def test_the_front_lies_on_the_head_and_its_expression_changes(engine: HrnEngine, stages) -> None:
    _, geometry, _ = stages
    front = geometry.native_face.positions
    assert front.shape == (FRONT_VERTICES, 3)
    skin = geometry.head.part("skin").positions
    assert 0.08 < np.ptp(front[:, 1]) < 0.4
    assert np.abs(np.median(front, 0) - np.median(skin, 0)).max() < 0.1
    np.testing.assert_allclose(engine.express(geometry, np.zeros(64, np.float32)), front, atol=1e-6)
    other = engine.express(geometry, 2 * np.ones(64, np.float32))
    assert np.abs(other - front).max() > 1e-3


def test_expression_photo_is_in_head_and_front(engine: HrnEngine, stages) -> None:
    prepared, neutral, _ = stages
    options = OPTIONS.model_copy(update={"expression": "photo"})
    posed = engine.geometry(prepared, options)
    head = posed.head
    assert head.expression_in_base
    rest = neutral.head.part("skin")
    expected = rest.positions + np.tensordot(head.weights, rest.morph_deltas, 1)
    np.testing.assert_allclose(head.part("skin").positions, expected, atol=1e-5)
    assert np.abs(posed.native_face.positions - neutral.native_face.positions).max() > 1e-4


def test_maps_say_what_their_texels_are(stages) -> None:
    _, _, texture = stages
    assert texture.skin.shape == (1024, 1024, 3)
    assert texture.front.shape == (1024, 1024, 3)
    shares = texture.facts["texel_shares"]
    assert set(shares) == {"observed", "mirrored", "completed", "fitted"}
    assert abs(sum(shares.values()) - 1) < 1e-3
    # The synthetic front lies beside the face, with the background painted on it.
    assert shares["fitted"] == 0
    assert texture.facts["front_texel_shares"]["observed"] > 0.3


def test_the_fitted_texture_lies_where_the_camera_saw_neither_side(engine: HrnEngine, stages) -> None:
    prepared, geometry, texture = stages
    agreeing = {**geometry.facts, "front": {**geometry.facts["front"], "disagreement_mm": 1.0}}
    told = replace(geometry, facts=agreeing)
    with_fit = engine.texture(prepared, told, OPTIONS)
    assert 0.01 < with_fit.facts["texel_shares"]["fitted"] < 0.4
    before, after = (one.skin.astype(int) for one in (texture, with_fit))
    changed = np.abs(after - before).max(2) > 8
    _, columns = np.nonzero(changed)
    # The face's chart lies about u = 0.5: forehead and bridge of the nose, which the photo shows, stay.
    assert not changed[300:420, 440:584].any()
    assert 0.005 < changed.mean() < 0.3
    assert (columns < 480).any()
    assert (columns > 544).any()


def test_the_fronts_map_shows_the_photo_sharper_than_the_fit(engine: HrnEngine, stages) -> None:
    _, _, texture = stages
    image = texture.front.astype(np.float64).mean(2)
    middle = image[256:768, 256:768]
    small = np.asarray(Image.fromarray(middle.astype(np.uint8)).resize((128, 128), Image.Resampling.BOX))
    soft = np.asarray(Image.fromarray(small).resize((512, 512), Image.Resampling.BICUBIC), np.float64)
    assert np.abs(middle - soft).mean() > 1.0


def test_the_asset_holds_front_coefficients_and_licences(engine: HrnEngine, stages) -> None:
    from safetensors.numpy import load

    prepared, geometry, texture = stages
    files = build_asset(
        job="job",
        source=Source(bucket="inbox", key="a.png", etag="e"),
        prepared=prepared,
        geometry=geometry,
        baked=texture.facts,
        encoded=encode_maps(texture, OPTIONS),
        options=OPTIONS,
        engine=EngineEntry(name=engine.name, version=engine.version, licences=engine.licences()),
        stages=[],
    )
    assert {"head.glb", "face_front.glb", "face_front.obj", "face_front.mtl", "albedo_front.png"} <= set(
        files
    )
    assert b"map_Kd albedo_front.png" in files["face_front.mtl"]
    lines = files["face_front.obj"].splitlines()
    assert sum(line.startswith(b"v ") for line in lines) == FRONT_VERTICES
    assert sum(line.startswith(b"f ") for line in lines) == FRONT_FACES
    apart = load(files["face_front.safetensors"])
    assert apart["coefficients"].shape == (1, 257)
    manifest = json.loads(files["manifest.json"])
    (statement,) = [
        text for name, text in manifest["engine"]["licences"].items() if name.startswith("Basel Face Model")
    ]
    assert "non-commercial research" in statement
    assert manifest["texel_shares"]["fitted"] == 0
    assert manifest["facts"]["geometry"]["front"]["disagreement_mm"] > 0


def test_nothing_is_written_to_the_home_folder(engine: HrnEngine, home: Path, stages) -> None:
    assert not list(home.rglob("*.pth")) + list(home.rglob("*.zip"))


def test_without_a_model_directory_the_engine_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="face3d models check hrn"):
        load_engine("hrn", Settings(hrn_model_dir=tmp_path), "cpu")
