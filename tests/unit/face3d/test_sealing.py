"""Secrets at rest: sealed texts do not show what they hold, keys can be exchanged."""

import pytest
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook

from face3d.sealing import SecretBox, SecretUnreadable
from face3d.settings import Settings

SECRET = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="

KEY = "0123456789abcdef01234567"


def box(*keys: str) -> SecretBox:
    """A box whose keys are as long as they must be."""
    long = ", ".join(f"{key}-{KEY}" for key in keys)
    return SecretBox.from_settings(Settings(secret_key=SecretStr(long)))


@pytest.mark.parametrize("key", ["short", "change-me-change-me-change-me", "k" * 24, f"{KEY},short"])
def test_a_key_that_can_be_guessed_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="secret_key"):
        Settings(secret_key=SecretStr(key))


def test_a_sealed_secret_shows_nothing_and_opens_again() -> None:
    stored = box("key").seal(SECRET)
    assert SECRET not in stored
    assert SECRET.removeprefix("whsec_") not in stored
    assert box("key").open(stored) == SECRET


@pytest.mark.parametrize("length", range(4))
def test_what_does_not_know_of_sealing_signs_nothing_with_a_sealed_secret(length: int) -> None:
    stored = box("key").seal(SECRET)
    with pytest.raises(ValueError, match="ASCII"):
        Webhook(stored[: len(stored) - length])


def test_another_key_or_a_changed_text_opens_nothing() -> None:
    stored = box("key").seal(SECRET)
    for wrong, text in ((box("other"), stored), (box(), stored), (box("key"), stored[:-2] + "AA")):
        with pytest.raises(SecretUnreadable):
            wrong.open(text)


def test_what_was_stored_before_there_was_a_key_opens_and_wants_sealing() -> None:
    assert box("key").open(SECRET) == SECRET
    assert not box("key").is_current(SECRET)
    assert box().seal(SECRET) == SECRET
    assert box().is_current(SECRET)


def test_keys_are_exchanged_by_naming_the_new_one_first() -> None:
    stored = box("old").seal(SECRET)
    both = box("new", "old")
    assert both.open(stored) == SECRET
    assert not both.is_current(stored)
    assert box("new").open(both.seal(SECRET)) == SECRET
