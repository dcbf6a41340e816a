"""`face3d models` on a made-up directory, and a hub that does not answer."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from face3d.errors import ConfigurationError
from gpu_workers.engines.hrn.fetching import download_model
from gpu_workers.engines.hrn.files import MODEL_ID, MODEL_REVISION


def test_a_directory_is_fetched_and_checked(hrn_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    command = ["models", "fetch", "hrn", "--accept-licence", "--from", str(hrn_folder), "--dir", str(target)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "0 wrong" in result.output
    (target / "pytorch_model.pt").unlink()
    result = CliRunner().invoke(app, ["models", "check", "hrn", "--dir", str(target)])
    assert result.exit_code == 1
    assert "pytorch_model.pt: is missing" in result.output
    assert "face3d models fetch hrn" in result.output


def test_the_hub_is_asked_for_the_pinned_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("modelscope.hub.snapshot_download")
    asked: dict[str, object] = {}
    known = inspect.signature(module.snapshot_download)

    def download(*args: object, **kwargs: object) -> str:
        asked.update(known.bind(*args, **kwargs).arguments)
        return str(tmp_path)

    monkeypatch.setattr(module, "snapshot_download", download)
    download_model(tmp_path / "model")
    assert asked == {
        "model_id": MODEL_ID,
        "revision": MODEL_REVISION,
        "local_dir": str(tmp_path / "model"),
    }


def test_a_hub_out_of_reach_is_an_error_that_names_the_way_without(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--from DIRECTORY"):
        download_model(tmp_path / "model")
