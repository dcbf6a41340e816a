"""Options as callers write them."""

import pytest

from face3d.errors import ErrorCode, RefusedError
from face3d.options import (
    OPTION_NAMES,
    JobOptions,
    allowed_values,
    bust_is_on,
    options_from_metadata,
    parse_options,
)
from face3d.states import PriorityClass


def test_defaults_are_the_first_values_of_the_design() -> None:
    options = parse_options({})
    assert (options.engine, options.tier, options.texture_size, options.input_size) == (
        "anny", PriorityClass.BATCH, 4096, 1280,
    )  # fmt: skip
    assert options.sharpen
    assert options.formats == ("glb", "obj", "maps", "preview")


def test_text_becomes_values() -> None:
    options = parse_options(
        {"sharpen": "off", "texture-size": "1024", "formats": "obj, glb", "gpu-type": "h100", "ref": " a b "}
    )
    assert not options.sharpen
    assert options.texture_size == 1024
    assert options.formats == ("obj", "glb")
    assert options.gpu_type == "h100"
    assert options.ref == "a b"


@pytest.mark.parametrize(
    ("bust", "hair", "on"),
    [
        ("auto", None, False),
        ("auto", False, False),
        ("auto", True, True),
        ("on", None, True),
        ("off", True, False),
    ],
)
def test_shoulders_come_when_asked_for_or_when_hair_lies_on_them(
    bust: str, hair: bool | None, on: bool
) -> None:
    facts = {} if hair is None else {"hair_below_jaw": hair}
    assert bust_is_on(parse_options({"bust": bust}), facts) is on


def test_the_caller_wins_over_the_defaults() -> None:
    assert parse_options({"tier": "batch"}, defaults={"tier": "interactive"}).tier is PriorityClass.BATCH


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("engine", "magic"),
        ("tier", "now"),
        ("gpu-type", "voodoo"),
        ("texture-size", "4097"),
        ("texture-size", "4096.0"),
        ("texture-format", "bmp"),
        ("input-size", "1"),
        ("sharpen", "yes"),
        ("expression", "smile"),
        ("compile", "fast"),
        ("lod", "3"),
        ("bust", "yes"),
        ("formats", "fbx"),
        ("formats", ""),
        ("ref", "x" * 201),
    ],
)
def test_a_bad_value_names_the_allowed_ones(name: str, text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_options({name: text})
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert caught.value.limit == allowed_values(name)
    assert caught.value.value == text[:100]


@pytest.mark.parametrize("chosen", [{"raw": {"engine": "hrn"}}, {"defaults": {"engine": "hrn"}}])
def test_a_second_view_is_refused_where_the_engine_takes_one_photo(chosen: dict[str, dict[str, str]]) -> None:
    raw = {"view-of": "front.jpg", **chosen.get("raw", {})}
    with pytest.raises(RefusedError, match=r"view-of.*: engine hrn reconstructs from one photo") as caught:
        parse_options(raw, defaults=chosen.get("defaults"))
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert caught.value.value == "front.jpg"
    assert "not with engine hrn" in str(caught.value.limit)
    assert parse_options({**raw, "engine": "anny"}, defaults=chosen.get("defaults")).view_of == "front.jpg"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(RefusedError) as caught:
        parse_options({"texture-sise": "4096"})
    assert caught.value.value == "texture-sise"
    assert caught.value.limit == ", ".join(OPTION_NAMES)


def test_every_option_says_what_it_takes() -> None:
    assert all(allowed_values(name) for name in OPTION_NAMES)


def test_equal_options_have_one_digest_however_they_were_written() -> None:
    assert parse_options({"texture-size": "4096"}).digest() == JobOptions().digest()
    assert parse_options({"texture-size": "1024"}).digest() != JobOptions().digest()
    assert parse_options({"ref": "a"}).digest() != parse_options({"ref": "b"}).digest()


def test_metadata_options_lose_their_prefix_whatever_the_case() -> None:
    assert options_from_metadata({"Face3D-Texture-Size": "1024", "colour": "red"}) == {"texture-size": "1024"}
