"""Text in headers: what clients meant comes out, and nothing that they send raises."""

import encodings
import pkgutil
from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face3d.errors import RefusedError
from face3d.options import parse_options
from storage.metadata import decode_metadata


def received(wire: bytes) -> str:
    """Return what an HTTP library makes of a header's bytes, and we of that."""
    return decode_metadata({"Face3D-Ref": wire.decode("latin-1")})["face3d-ref"]


def word(text: bytes, charset: str, encoding: str) -> bytes:
    """Return an RFC 2047 word."""
    body = b64encode(text) if encoding == "B" else b"".join(b"=%02X" % byte for byte in text)
    return b"=?" + charset.encode() + b"?" + encoding.encode() + b"?" + body + b"?="


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        ("José 深い 🙂 voilà Å".encode(), "José 深い 🙂 voilà Å"),
        ("à".encode(), "à"),
        ("José ü".encode("latin-1"), "José ü"),
        (b"plain", "plain"),
        (b"=?UTF-8?Q?Jos=C3=A9_x?=", "José x"),
        (b"=?utf-8?b?Sm9zw6k=?=", "José"),
        (b"=?utf-8?B?Sm9zw6k?=", "José"),
        (b"=?UTF-8*fr?Q?Jos=C3=A9?=", "José"),
        (b"=?ISO-8859-1?Q?caf=E9?=", "café"),
        (b"=?UTF-8?B?Sm9z?= =?UTF-8?Q?=C3=A9?= and more", "José and more"),
        (b"=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=", "é"),
        (b"=?iso-8859-1?Q?caf=E9?=  =?utf-8?Q?=C3=A9?=", "caféé"),
        (b"a =?UTF-8?Q?=C3=A9?= b", "a é b"),
        ("深 ".encode() + b"=?UTF-8?Q?=C3=A9?=" + "é".encode(), "深 éé"),
        ("é ".encode("latin-1") + b"=?UTF-8?Q?=C3=A9?=", "é é"),
        (b"=?gb2312?B?1tC5+g==?=", "中国"),
        (b"=?UTF-8?Q??=", ""),
    ],
)
def test_text_comes_out_as_it_was_meant(wire: bytes, text: str) -> None:
    assert received(wire) == text


@pytest.mark.parametrize(
    "wire",
    [
        b"=?idna?Q?xn--a?=",
        b"=?punycode?Q?a-b-99999999?=",
        b"=?unicode_escape?Q?=5Cud800?=",
        b"=?utf-7?Q?+2AA-?=",
        b"=?x-odd?Q?abc?=",
        b"=?undefined?Q?abc?=",
        b"=?rot13?Q?abc?=",
        b"=?utf-8?Q?=ED=A0=80?=",
        b"=?utf-16le?B?ANg=?=",
        b"=?UTF-8?B?a?=",
        b"=?UTF-8?B?****?=",
        b"=?UTF-8?X?abc?=",
        b"=?UTF-8?Q?abc",
        b"=??Q?abc?=",
    ],
)
def test_what_says_nothing_stays_as_it_is(wire: bytes) -> None:
    assert received(wire) == wire.decode()


@given(st.binary(max_size=300))
def test_any_bytes_are_some_text(wire: bytes) -> None:
    received(wire).encode()


#: Whatever a client may write where a charset belongs: all that Python has a codec for, too.
CHARSETS = st.sampled_from(sorted(module.name for module in pkgutil.iter_modules(encodings.__path__)))


@given(CHARSETS | st.text(max_size=20), st.binary(max_size=40), st.sampled_from("BQ"))
def test_any_word_in_any_charset_is_some_text_and_options_or_a_refusal(
    charset: str, text: bytes, encoding: str
) -> None:
    value = received(b"x " + word(text, charset.encode("ascii", "replace").decode(), encoding))
    value.encode()
    with suppress(RefusedError):
        assert parse_options({"ref": value}).ref == value.strip()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_as_utf_8_comes_out(text: str) -> None:
    if "=?" not in text:
        assert received(text.encode()) == text


@pytest.mark.parametrize("name", ["ref", "view-of", "engine", "\ud800", "a\x00b", "x" * 300])
@pytest.mark.parametrize("value", ["\ud800", "a\x00b", "\x1b", "x" * 2000])
def test_options_that_no_row_can_hold_are_refused_in_words_that_one_can(name: str, value: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_options({name: value})
    assert caught.value.code == "bad_option"
    shown = str(caught.value.value)
    shown.encode()
    assert "\x00" not in shown
