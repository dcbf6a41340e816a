"""Engine hrn where its environment is not: what the default install says, and what needs no ModelScope."""

import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from assets.native_face import build_front, has_front
from cli.main import app
from face3d.errors import ConfigurationError, EngineUnavailable, RefusedError
from face3d.messages import Array
from face3d.options import parse_options
from face3d.settings import Settings
from gpu_workers.engines.hrn import environment
from gpu_workers.engines.hrn.conversion import convert_mask
from gpu_workers.engines.hrn.fetching import copy_model
from gpu_workers.engines.hrn.files import find_model_folder
from gpu_workers.engines.null.head import make_head
from gpu_workers.engines.registry import load_engine


def test_the_default_install_holds_nothing_of_it_and_says_what_is_missing() -> None:
    missing = environment.find_missing()
    assert "modelscope==1.40.0" in missing
    with pytest.raises(EngineUnavailable, match=r"modelscope==1\.40\.0.*make hrn.*engine anny"):
        load_engine("hrn", Settings(), "cpu")
    assert not {"modelscope", "face_alignment", "tensorflow"} & set(sys.modules)


def test_another_version_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "version", lambda _: "1.40.2")
    assert "modelscope==1.40.0 (found 1.40.2)" in environment.find_missing()
    assert "kornia" not in environment.find_missing()


def test_the_model_directory_is_the_settings_or_beside_the_others(tmp_path: Path) -> None:
    assert find_model_folder(Settings(model_dir=tmp_path)) == tmp_path / "hrn"
    assert find_model_folder(Settings(model_dir=tmp_path, hrn_model_dir=tmp_path / "own")) == tmp_path / "own"


def test_lent_modules_are_taken_back() -> None:
    before = set(sys.modules)
    with environment.borrowed_modules():
        import nvdiffrast.torch as drawing
        import tensorflow

        assert drawing.texture.__module__ == "gpu_workers.engines.hrn.rendering"
        session = tensorflow.Session(graph=tensorflow.Graph(), config=tensorflow.ConfigProto())
        with session.as_default():
            assert session.run(tensorflow.global_variables_initializer()) is not None
    assert not {"nvdiffrast", "pytorch3d", "tensorflow"} & (set(sys.modules) - before)


def test_the_front_is_for_its_engine_only() -> None:
    assert "front" in parse_options({"engine": "hrn", "formats": "glb,front"}).formats
    with pytest.raises(RefusedError, match="formats") as refused:
        parse_options({"formats": "glb,front"})
    assert "front: engine hrn only" in str(refused.value.limit)


def front_tensors() -> dict[str, Array]:
    return {
        "front/positions": np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32),
        "front/triangles": np.array([[0, 1, 2]], np.int32),
        "front/uvs": np.array([[0, 0], [1, 0], [0, 1]], np.float32),
        "front/coefficients": np.arange(257, dtype=np.float32)[None],
        "front/deformation": np.zeros((1, 64, 64, 3), np.float32),
        "front/displacement": np.zeros((1, 1, 256, 256), np.float32),
        "front/placement": np.eye(3, 4, dtype=np.float32),
    }


def test_the_coefficients_stand_apart_and_the_mesh_comes_when_asked_for() -> None:
    from safetensors.numpy import load

    tensors = front_tensors()
    assert has_front(tensors)
    assert not has_front({})
    plain = build_front(make_head(), tensors, {}, parse_options({"engine": "hrn"}))
    assert set(plain) == {"face_front.safetensors"}
    np.testing.assert_array_equal(load(plain["face_front.safetensors"])["coefficients"][0, :3], [0, 1, 2])
    asked = parse_options({"engine": "hrn", "formats": "front", "texture-format": "jpeg"})
    files = build_front(make_head(), tensors, {"front": b"jpeg", "skin": b"other"}, asked)
    assert b"f 1/1/1 2/2/2 3/3/3" in files["face_front.obj"]
    assert b"map_Kd albedo_front.jpg" in files["face_front.mtl"]
    assert files["face_front.glb"].startswith(b"glTF")
    assert b"other" not in files["face_front.glb"]


def test_fetching_states_the_licence_and_does_nothing_without_consent(tmp_path: Path) -> None:
    target = tmp_path / "model"
    result = CliRunner().invoke(app, ["models", "fetch", "hrn", "--dir", str(target)])
    assert isinstance(result.exception, ConfigurationError)
    assert "--accept-licence" in str(result.exception)
    assert "non-commercial" in " ".join(result.stderr.split())
    assert not target.exists()


def test_fetching_looks_at_the_environment_before_it_copies(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "model"
    source.mkdir()
    command = ["models", "fetch", "hrn", "--accept-licence", "--from", str(source), "--dir", str(target)]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, EngineUnavailable)
    assert "make hrn" in str(result.exception)
    assert not target.exists()


def test_only_hrn_has_files_of_the_operators(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["models", "check", "anny"])
    assert "only hrn" in str(result.exception)
    with pytest.raises(ConfigurationError, match="no directory"):
        copy_model(tmp_path / "nowhere", tmp_path / "model")


def test_a_directory_of_the_operators_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "assets").mkdir(parents=True)
    (source / "assets" / "x.npy").write_bytes(b"x")
    copy_model(source, tmp_path / "model")
    assert (tmp_path / "model" / "assets" / "x.npy").read_bytes() == b"x"


def test_converting_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tensorflow.*--editable '\.\[hrn-convert\]'"):
        convert_mask(tmp_path)


def test_the_doctor_speaks_of_it_to_those_who_mean_to_use_it(tmp_path: Path) -> None:
    from cli.diagnosis import examine_engine_hrn

    assert not list(examine_engine_hrn(Settings(model_dir=tmp_path)))
    (finding,) = examine_engine_hrn(Settings(model_dir=tmp_path, engine="hrn"))
    assert not finding.ok
    assert "modelscope==1.40.0" in finding.detail
    assert "make hrn" in finding.remedy
