"""Settings that make no sense are refused, and the command says so in a sentence."""

import sys

import pytest
from pydantic import ValidationError

from face3d.cli import main
from face3d.settings import Settings
from gpu_workers.engines.base import PhotoLimits


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValidationError, match="lease_seconds"):
        Settings(lease_seconds=-5.0)


def test_the_limits_of_photos_are_the_settings() -> None:
    limits = PhotoLimits.from_settings(Settings(max_bytes=1000, min_eye_distance_px=90.0))
    assert (limits.max_bytes, limits.min_eye_distance_px) == (1000, 90.0)


def test_a_setting_that_is_no_number_is_one_sentence_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACE3D_MAX_MEGAPIXELS", "lots")
    monkeypatch.setattr(sys, "argv", ["face3d", "doctor"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "max_megapixels: Input should be a valid number" in capsys.readouterr().err
