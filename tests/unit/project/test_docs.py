"""The pages say what the code does."""

import re

import pytest

from face3d.errors import ErrorCode
from face3d.options import OPTION_NAMES, JobOptions, allowed_values
from face3d.settings import ROOT


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of a page's tables by their first cell's code word."""
    found = {}
    for line in (ROOT / "docs" / page).read_text().splitlines():
        if match := re.match(r"\| `([^`]+)` \|(.*)\|$", line):
            found[match[1]] = [cell.strip() for cell in match[2].split("|")]
    return found


def test_every_option_stands_in_the_page_with_its_default() -> None:
    table = rows("options.md")
    assert set(table) == set(OPTION_NAMES)
    defaults = JobOptions().model_dump(mode="json", by_alias=True)
    for name, (default, *_) in table.items():
        value = defaults[name]
        if isinstance(value, bool):
            value = "on" if value else "off"
        elif isinstance(value, list):
            value = ",".join(value)
        assert default == ("(empty)" if value is None else f"`{value}`"), name


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_every_value_stands_in_the_page(name: str) -> None:
    written = set(re.split(r"[,\s]+", rows("options.md")[name][1]))
    assert set(re.split(r"[,\s]+", allowed_values(name))) == written


def test_every_error_code_is_explained() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    missing = [code.value for code in ErrorCode if f"`{code.value}`" not in page]
    assert not missing


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    broken = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken
