"""Settings that make no sense are refused, and the command says so in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from face3d.settings import Settings
from gpu_workers.engines.base import PhotoLimits


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValidationError, match="lease_seconds"):
        Settings(lease_seconds=-5.0)


def test_the_limits_of_photos_are_the_settings() -> None:
    limits = PhotoLimits.from_settings(Settings(max_bytes=1000, min_eye_distance_px=90.0))
    assert (limits.max_bytes, limits.min_eye_distance_px) == (1000, 90.0)


def test_a_setting_that_is_no_number_is_one_sentence_on_standard_error() -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("face3d"), "doctor"],
        env={**os.environ, "FACE3D_MAX_MEGAPIXELS": "lots"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "max_megapixels: Input should be a valid number" in ended.stderr
    assert "Traceback" not in ended.stderr
