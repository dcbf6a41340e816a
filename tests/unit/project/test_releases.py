"""RELEASES names what was released, and an upgrade test can have it."""

import subprocess
from pathlib import Path

import pytest

from tests.releases import ROOT, Release, ReleaseError, extract, last_release, releases


def test_every_release_is_part_of_the_history() -> None:
    for release in releases():
        command = ["git", "-C", str(ROOT), "merge-base", "--is-ancestor", release.commit, "HEAD"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, f"{release} is no ancestor of HEAD. {answer.stderr}"


def test_releases_ascend_and_are_told_in_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    versions = [tuple(map(int, release.version[1:].split("."))) for release in releases()]
    assert versions == sorted(set(versions))
    for release in releases():
        assert f"\n## [{release.version[1:]}]" in changelog, (
            f"CHANGELOG.md tells nothing of {release.version}"
        )


def test_the_last_release_can_be_taken_out_of_the_history(tmp_path: Path) -> None:
    folder = extract(last_release(), tmp_path / "released")
    assert (folder / "pyproject.toml").is_file()
    assert list((folder / "migrations" / "versions").glob("0*.py"))


def test_a_history_without_the_release_is_told_and_fails(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    unknown = Release(version="v9.9.9", commit="0" * 40)
    with pytest.raises(ReleaseError, match=r"does not hold release v9\.9\.9 .*git fetch --unshallow"):
        extract(unknown, tmp_path / "released", repository=tmp_path)
    assert not (tmp_path / "released").exists()


@pytest.mark.parametrize("text", ["", "v0.1.0\n", "0.1.0 " + "a" * 40 + "\n", "v0.1.0 c86b5dc\n", "\n"])
def test_a_line_of_another_form_is_an_error(text: str, tmp_path: Path) -> None:
    file = tmp_path / "RELEASES"
    file.write_text(text)
    with pytest.raises(ReleaseError, match="full commit id"):
        last_release(file)


def test_the_last_line_is_the_last_release(tmp_path: Path) -> None:
    file = tmp_path / "RELEASES"
    file.write_text(f"v0.9.0 {'a' * 40}\nv0.10.0 {'b' * 40}\n")
    assert last_release(file) == Release(version="v0.10.0", commit="b" * 40)
