"""Files that are made from others, and licences."""

from pathlib import Path

import pytest

from face3d.cli.settings_doc import PAGE, settings_page
from face3d.settings import Settings
from scripts import check_licences

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_settings_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text() == settings_page(), "run: python -m face3d.cli.settings_doc"


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


def test_a_package_without_a_licence_is_refused_unless_reviewed(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# comment\nno-such-package==1.0\npytest==1\n")
    assert check_licences.find_refused(lock) == {"no-such-package": "not installed"}
    assert check_licences.find_refused(lock, {"no-such-package": "read on a Sunday"}) == {}
