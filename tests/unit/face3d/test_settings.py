"""Settings that make no sense are refused, and the command says so in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from face3d.settings import Settings
from gpu_workers.photo_limits import PhotoLimits

STRONG = "0123456789abcdef01234567"


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


@pytest.mark.parametrize(
    "weak",
    [
        "change-me",
        "x",
        STRONG[:23],
        "Change-Me-And-More-Of-The-Same",
        f"changeme{STRONG}",
        f"change_me{STRONG}",
    ],
)
@pytest.mark.parametrize("name", ["api_token", "event_token"])
def test_a_weak_token_is_refused_with_the_way_to_make_one(name: str, weak: str) -> None:
    with pytest.raises(ValidationError, match="openssl rand -hex 32") as refused:
        Settings(**{name: weak})
    assert repr(weak) not in str(refused.value)


@pytest.mark.parametrize("name", ["api_token", "event_token"])
@pytest.mark.parametrize("weak", [" " * 28, "a" * 24, "abcde" * 8])
def test_a_token_of_few_letters_is_refused(name: str, weak: str) -> None:
    with pytest.raises(ValidationError, match="6 different characters"):
        Settings(**{name: weak})


@pytest.mark.parametrize("name", ["s3_secret_key", "broker_url", "database_url"])
def test_no_secret_is_the_example_s(name: str) -> None:
    with pytest.raises(ValidationError, match="openssl rand -hex 32"):
        Settings(**{name: "amqp://face3d:change-me@rabbitmq//"})


def test_a_strong_token_and_none_are_taken() -> None:
    assert Settings(api_token=STRONG, event_token="").api_token.get_secret_value() == STRONG
    assert Settings(database_url="postgresql+psycopg://face3d@exchange-media/face3d")


def test_events_have_a_token_of_their_own() -> None:
    with pytest.raises(ValidationError, match="openssl rand -hex 32") as refused:
        Settings(api_token=STRONG, event_token=STRONG)
    assert STRONG not in str(refused.value)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        (("-m", "web"), "change-me"),
        (("-m", "web"), ""),
        (("-m", "tasks.relay"), "short"),
        (("-m", "tasks.delivery_worker"), "short"),
        (("-c", "import sys; sys.argv[1:] = ['jobs']; from cli import main; main()"), "short"),
    ],
)
def test_no_process_starts_with_a_weak_token(arguments: tuple[str, ...], token: str) -> None:
    ended = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "FACE3D_API_TOKEN": token, "FACE3D_S3_ACCESS_KEY": "k"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "`openssl rand -hex 32` makes one" in ended.stderr.splitlines()[-1]
