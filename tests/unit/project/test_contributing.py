"""CONTRIBUTING.md names the files that a change touches: each list is held to an example in the code."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()

#: Title to example and text of each list of files.
RECIPES = {
    match[1]: (match[2], match[3])
    for match in re.finditer(
        r"^### ([^:\n]+): example `([^`]+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
}


def listed(text: str) -> list[str]:
    """Return the files in the first cells of a recipe's table."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def naming(word: str) -> set[str]:
    """Return the delivered files that hold a word."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "grep",
        "-lwF",
        word,
        "--",
        "*.py",
        "*.js",
        ":!tests",
        ":!bench",
        ":!scripts",
    ]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


def test_what_people_add_has_a_list() -> None:
    wanted = {"A GPU type", "An output format", "An engine", "A setting", "A migration", "A webhook event"}
    assert wanted <= set(RECIPES)


@pytest.mark.parametrize("title", RECIPES)
def test_the_files_of_a_list_hold_its_example(title: str) -> None:
    example, text = RECIPES[title]
    files = listed(text)
    assert len(files) > 2
    silent = [
        name
        for name in files
        if not re.search(rf"(?<![^\W_]){re.escape(example)}(?!\w)", (ROOT / name).read_text(), re.IGNORECASE)
    ]
    assert not silent


@pytest.mark.parametrize("title", [title for title in RECIPES if title != "An engine"])
def test_no_file_is_left_out_of_a_list(title: str) -> None:
    """An engine has a package of its own, and commands that know it by name: its list is the least."""
    example, text = RECIPES[title]
    assert naming(example) <= set(listed(text))


def test_the_worked_example_stands_in_the_code() -> None:
    shown = re.findall(r"^In `([^`]+)`[^\n]*\n```text\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(shown) == 3
    for name, lines in shown:
        assert lines in (ROOT / name).read_text(), name


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md"])
def test_targets_of_make_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    shown = re.findall(r"(?:`|^    )make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE)
    assert len(shown) > 3
    for target in shown:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_hooks_before_a_commit_use_tools_that_are_there() -> None:
    entries = re.findall(r"entry: (.*)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert len(entries) == 3
    makefile = (ROOT / "Makefile").read_text()
    for tool, argument, *_ in map(str.split, entries):
        if tool == "make":
            assert re.search(rf"^{argument}:", makefile, re.MULTILINE), argument
        else:
            assert (ROOT / tool).is_file(), tool


def test_the_forge_runs_what_ci_runs() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "run: bash .ci/run\n" in workflow
    # Without history, tests of upgrades fail.
    assert "fetch-depth: 0" in workflow


def test_files_that_the_page_names_exist() -> None:
    missing = [name for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", PAGE) if not (ROOT / name).exists()]
    assert not missing
