"""`face3d jobs`: ids are for copying."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from cli import jobs as jobs_module
from cli.jobs import print_job, print_list

ID = "0199f3a2-5c1e-7d5b-8f00-2b1f0e9c7a41"


def a_job() -> dict[str, Any]:
    stage = {"name": "texture", "state": "running", "attempt": 1, "seconds": 1.5}
    return {
        "id": ID,
        "name": "[red]me\t.jpg",
        "state": "running",
        "created_at": "2026-01-02T03:04:05+00:00",
        "stages": [{**stage, "queue": "texture.rtx-pro-6000-blackwell.interactive"}],
        "options": {"engine": "anny"},
        "tier": "interactive",
        "error": None,
        "quality": None,
        "files": [],
    }


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, width: int = 80) -> StringIO:
    """Return what the consoles write."""
    text = StringIO()
    console = Console(file=text, force_terminal=terminal, width=width, color_system=None, highlight=False)
    monkeypatch.setattr(jobs_module, "output", console)
    return text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_shows_whole_ids(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = shown(monkeypatch, terminal=True, width=width)
    print_list([a_job()])
    assert ID in text.getvalue()


def test_a_usual_terminal_shows_a_failed_job_s_code_uncut_on_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown(monkeypatch, terminal=True)
    error = {"code": "storage_unavailable"}
    print_list([{**a_job(), "state": "failed", "error": error}])
    (line,) = [line for line in text.getvalue().splitlines() if ID in line]
    assert line.split()[-1] == "storage_unavailable"


def test_a_pipe_gets_one_tab_separated_line_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=False)
    print_list([a_job(), a_job()])
    lines = text.getvalue().splitlines()
    assert len(lines) == 2
    cells = lines[0].split("\t")
    photo = ["texture", "interactive", "anny", "[red]me?.jpg"]
    assert (cells[0], cells[1], cells[3:]) == (ID, "running", photo)


def test_no_jobs_are_no_lines_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=False)
    print_list([])
    assert text.getvalue() == ""


def test_one_job_has_a_line_a_stage_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=False, width=40)
    print_job(a_job())
    assert len(text.getvalue().splitlines()) == 2


def test_a_photos_name_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, terminal=True, width=200)
    print_list([a_job()])
    print_job(a_job())
    assert text.getvalue().count("[red]me?.jpg") == 2


@pytest.mark.parametrize("width", [110, 120, 200])
def test_a_long_name_of_a_photo_is_cut_and_nothing_else(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = shown(monkeypatch, terminal=True, width=width)
    print_list([{**a_job(), "name": "x" * 255}])
    (line,) = [line for line in text.getvalue().splitlines() if ID in line]
    assert line.split()[:2] == [ID, "running"]
    assert line.split()[-4:-1] == ["texture", "interactive", "anny"]
    assert line.split()[-1].startswith("xxxx")
