"""A model directory is refused for what is wrong in it, by name."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.errors import EngineUnavailable
from gpu_workers.engines.hrn.files import CHECKPOINT, KNOWN_DIGESTS, MASK_NETWORK, PROGRAMS, RETOUCHING
from gpu_workers.engines.hrn.loading import load_pipeline
from gpu_workers.engines.hrn.model_check import Finding, check_model_folder


@pytest.fixture
def copy(hrn_folder: Path, tmp_path: Path) -> Path:
    """A directory whose files are the synthetic ones; each may be replaced."""
    target = tmp_path / "model"
    shutil.copytree(hrn_folder, target, copy_function=lambda a, b: Path(b).symlink_to(a))
    return target


def wrong(folder: Path) -> list[Finding]:
    return [finding for finding in check_model_folder(folder) if finding.wrong]


def change(folder: Path, name: str, edit: Callable[[dict], None]) -> None:
    state = torch.load(folder / name, weights_only=True)
    edit(state)
    (folder / name).unlink()
    torch.save(state, folder / name)


def test_the_made_up_directory_passes_but_for_known_digests(hrn_folder: Path) -> None:
    findings = check_model_folder(hrn_folder)
    assert {finding.file for finding in findings} == set(KNOWN_DIGESTS)
    assert not any(finding.wrong for finding in findings)
    # The operator is told which of them are run.
    programs = {finding.file for finding in findings if "the engine runs it" in finding.problem}
    assert programs == set(PROGRAMS)


def test_each_missing_file_is_named(copy: Path) -> None:
    for name in ("assets/bfm_uvs2.npy", CHECKPOINT, MASK_NETWORK):
        (copy / name).unlink()
    assert {finding.file for finding in wrong(copy)} == {
        "assets/bfm_uvs2.npy",
        CHECKPOINT,
        "segment_face.pb",
    }


def test_missing_and_misshapen_weights_are_named_where_the_pipeline_would_pass_them(copy: Path) -> None:
    def edit(state: dict) -> None:
        weights = state["mid_net"]
        first, second = list(weights)[:2]
        weights["renamed"] = weights.pop(first)
        weights[second] = torch.zeros(3)

    change(copy, CHECKPOINT, edit)
    problems = [finding.problem for finding in wrong(copy)]
    assert any("mid_net lacks model.1.weight" in problem for problem in problems)
    assert any("other shapes: model.1.bias (3,) in place of (64,)" in problem for problem in problems)
    remarks = [str(finding) for finding in check_model_folder(copy) if not finding.wrong]
    assert any("mid_net holds besides renamed" in remark for remark in remarks)
    with pytest.raises(EngineUnavailable, match=CHECKPOINT):
        load_pipeline(copy, torch.device("cpu"))


def test_a_damaged_file_is_a_finding_and_no_crash(copy: Path) -> None:
    (copy / RETOUCHING).unlink()
    (copy / RETOUCHING).write_bytes(b"half a download")
    np.save(copy / "own.npy", np.zeros((35708, 2), np.float32))
    (copy / "assets/bfm_uvs2.npy").unlink()
    (copy / "own.npy").rename(copy / "assets/bfm_uvs2.npy")
    found = {finding.file: finding.problem for finding in wrong(copy)}
    assert "cannot be read" in found[RETOUCHING]
    assert "(35708, 2) in place of (35709, 2)" in found["assets/bfm_uvs2.npy"]


def test_python_files_of_the_directory_are_not_run(hrn_folder: Path, tmp_path: Path) -> None:
    # ModelScope trusts what lies in a folder of this name.
    folder, mark = tmp_path / "damo" / "model", tmp_path / "ran"
    shutil.copytree(hrn_folder, folder, copy_function=lambda a, b: Path(b).symlink_to(a))
    (folder / "ms_wrapper.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    load_pipeline(folder, torch.device("cpu"))
    assert not mark.exists()


def test_an_unconverted_mask_says_what_to_do(copy: Path) -> None:
    (copy / MASK_NETWORK).rename(copy / "segment_face.pb")
    assert not wrong(copy)
    with pytest.raises(EngineUnavailable, match="face3d models convert hrn"):
        load_pipeline(copy, torch.device("cpu"))
