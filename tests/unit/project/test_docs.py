"""The pages say what the code does."""

import re
import subprocess
from pathlib import Path

import pytest
import typer.main

from cli import app
from face3d.errors import ErrorCode
from face3d.options import OPTION_NAMES, JobOptions, allowed_values
from face3d.settings import ROOT

#: All pages that a reader may open.
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

#: Where a page of the project may be named, beside the pages themselves.
SOURCES = ("*.py", "*.sh", "*.json", "*.toml", "*.yml", "*.html", "*.js", "Makefile", ".ci/*")

#: Scripts that a page names and says to be no part of the project.
NOT_OURS = frozenset({"score_heads.py"})


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of a page's tables by their first cell's code word."""
    found = {}
    for line in (ROOT / "docs" / page).read_text().splitlines():
        if match := re.match(r"\| `([^`]+)` \|(.*)\|$", line):
            found[match[1]] = [cell.strip() for cell in match[2].split("|")]
    return found


def test_every_option_stands_in_the_page_with_its_default() -> None:
    table = rows("reference/options.md")
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
    written = set(re.split(r"[,\s]+", rows("reference/options.md")[name][1]))
    assert set(re.split(r"[,\s]+", allowed_values(name))) == written


def test_every_error_code_is_explained() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    missing = [code.value for code in ErrorCode if f"`{code.value}`" not in page]
    assert not missing


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as forges make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target, _, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)\s]+))?\)", page.read_text()):
            found = page.parent / target if target else page
            if not found.exists() or (anchor and anchor not in anchors(found)):
                broken.append((str(page.relative_to(ROOT)), f"{target}#{anchor}"))
    assert not broken


def test_pages_that_the_code_names_exist() -> None:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--", *SOURCES], capture_output=True, text=True, check=True
    )
    missing = [
        (name, page)
        for name in listed.stdout.splitlines()
        if (ROOT / name).is_file()
        for page in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", (ROOT / name).read_text())
        if not (ROOT / page).is_file()
    ]
    assert not missing


def test_code_that_the_pages_name_exists() -> None:
    """A path is one from the root; a bare name is that of some file."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True)
    files = set(listed.stdout.splitlines())
    bare = {Path(name).name for name in files}
    missing = [
        (str(page.relative_to(ROOT)), name)
        for page in PAGES
        for name in re.findall(r"`([\w./-]+\.(?:py|sh|sql))`", page.read_text())
        if name not in (files if "/" in name else bare | NOT_OURS)
    ]
    assert not missing


def commands() -> list[str]:
    """Return every command of ours that a page shows, in a line or in a block."""
    text = "\n".join(page.read_text() for page in PAGES)
    inline = re.findall(r"`(?:\.venv/bin/)?(face3d [^`\n]+)`", text)
    blocks = re.findall(r"^    (?:\.venv/bin/)?(face3d [^\n#]+)", text, re.MULTILINE)
    return sorted({command.strip() for command in inline + blocks})


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_pages_exists_with_its_options(command: str) -> None:
    found = typer.main.get_command(app)
    for part in command.split()[1:]:
        if part.startswith("--"):
            options = {name for parameter in found.params for name in parameter.opts}
            assert part.split("=")[0] in options, options
        elif part in getattr(found, "commands", {}):
            found = found.commands[part]  # type: ignore[attr-defined]
        else:
            assert not getattr(found, "commands", {}), f"there is no command {part}"


def test_every_page_stands_in_the_index() -> None:
    indexes = [ROOT / "docs" / "README.md", ROOT / "docs" / "adr" / "README.md"]
    named = {
        (index.parent / target).resolve()
        for index in indexes
        for target in re.findall(r"\]\(([^)#]+)", index.read_text())
    }
    lost = set((ROOT / "docs").rglob("*.md")) - named - {indexes[0]}
    assert not lost
