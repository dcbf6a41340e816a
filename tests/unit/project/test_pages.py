"""Files that are made from others, and licences."""

from importlib.metadata import distribution
from pathlib import Path

import pytest

from cli.settings_doc import PAGE, settings_page
from face3d.settings import Settings
from scripts import check_licences

ROOT = Path(__file__).resolve().parents[3]


def test_the_settings_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text() == settings_page(), "run: python -m cli.settings_doc"


def test_every_setting_is_described() -> None:
    for name, info in Settings.model_fields.items():
        assert info.description, name


def test_all_that_installs_has_an_allowed_licence() -> None:
    assert check_licences.find_refused(ROOT / "requirements.lock") == {}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("BSD-3-Clause AND Zlib AND CC0-1.0", True),
        ("GPL-3.0-only OR Apache-2.0", True),
        ("(MIT OR GPL-2.0-only) AND ISC", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0-or-later", False),
        ("AGPL-3.0-only", False),
        ("MIT AND GPL-2.0-only", False),
        ("CC-BY-NC-4.0", False),
        ("LicenseRef-Proprietary", False),
        ("", False),
    ],
)
def test_licence_expressions(expression: str, allowed: bool) -> None:
    assert check_licences.is_allowed(expression) is allowed


def make_wheel_folder(folder: Path, files: dict[str, str]) -> None:
    """Write a package that states BSD, with these files beside it, as pip leaves it."""
    info = "made_up_heif-1.0.dist-info"
    metadata = "Metadata-Version: 2.4\nName: made-up-heif\nVersion: 1.0\nLicense-Expression: BSD-3-Clause\n"
    everything = {f"{info}/METADATA": metadata, "made_up_heif/__init__.py": "", **files}
    everything[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in everything)
    for name, text in everything.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "refused"),
    [
        ({}, False),
        ({"made_up_heif.libs/libheif-7a3e919c.so.1.23.0": "", "made_up_heif.libs/libde265.so": ""}, False),
        ({"made_up_heif.libs/libx265-1a2b3c4d.so.215": ""}, True),
        ({"made_up_heif/.dylibs/libx265.215.dylib": ""}, True),
        ({"x264-164.dll": ""}, True),
        ({"made_up_heif-1.0.dist-info/licenses/LICENSES_bundled.txt": "Name: x\nLicense: GPLv2\n"}, True),
        ({"made_up_heif-1.0.dist-info/licenses/LICENSE.txt": "Name: x\nLicense: LGPLv3\n"}, False),
        (
            {"made_up_heif-1.0.dist-info/licenses/LICENSE": "License: GPL-3.0 WITH GCC-exception-3.1\n"},
            False,
        ),
    ],
)
def test_what_a_wheel_carries_counts_whatever_its_metadata_says(
    files: dict[str, str], refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel_folder(tmp_path / "installed", files)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    lock = tmp_path / "requirements.lock"
    lock.write_text("made-up-heif==1.0\n")
    found = check_licences.find_refused(lock)
    assert bool(found) is refused, found


def test_the_heic_decoder_carries_no_encoder() -> None:
    names = {file.name.split("-")[0].split(".")[0] for file in distribution("pi-heif").files or ()}
    assert {name for name in names if name.startswith("lib") and name != "libs"} <= {"libheif", "libde265"}


def test_a_package_without_a_licence_is_refused_unless_reviewed(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# comment\nno-such-package==1.0\npytest==1\n")
    assert check_licences.find_refused(lock) == {"no-such-package": "not installed"}
    assert check_licences.find_refused(lock, {"no-such-package": "read on a Sunday"}) == {}
