"""Text in HTTP headers: user metadata beyond ASCII, and names of downloads.

Headers carry bytes, and HTTP libraries hand them on as Latin-1. Clients write text in three ways: RFC 2047
words (boto3 users, AWS itself), raw UTF-8 (s3cmd, rclone, forms of a browser), raw Latin-1. Reading raises
nothing, whatever a client wrote: what cannot be understood stays as it is, and the options' parser judges it.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from quopri import decodestring
from urllib.parse import quote

#: RFC 2047 section 2, with RFC 2231's language tag: charset, encoding, text.
_WORD = re.compile(r"=\?([\w.:-]{1,40})(?:\*[\w-]{0,40})?\?([BbQq])\?([^?\s]*)\?=", re.ASCII)

#: Charsets of mail, by the names that Python knows. Its other codecs are no charsets (punycode,
#: unicode_escape) or yield halves of letters (UTF-7).
_CHARSETS = re.compile(
    r"utf-?(8|16|16le|16be|32|32le|32be)|(us-)?ascii|(iso-?|latin-?)(8859-)?\d{1,2}|(windows-|cp)12\d\d|koi8-[ru]"
    r"|gb2312|gbk|gb18030|big5|shift_jis|euc-(jp|kr)|iso-2022-(jp|kr)",
    re.ASCII | re.IGNORECASE,
)


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata whose values are ASCII: other text becomes RFC 2047 words, as AWS itself does."""
    return {name: _encode(value) for name, value in metadata.items()}


def _encode(value: str) -> str:
    if value.isascii() and value.isprintable() and "=?" not in value:
        return value
    return f"=?UTF-8?B?{b64encode(value.encode()).decode()}?="


def decode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as its writer meant it: names in lower case, values as text.

    Args:
        metadata: values as an HTTP library hands them on, each character a byte.
    """
    return {name.lower(): decode_header_text(value) for name, value in metadata.items()}


def decode_header_text(value: str) -> str:
    """Return the text of a header's value: raw UTF-8 or Latin-1, with RFC 2047 words decoded."""
    return "".join(_decode_words(_decode_raw(value)))


def _decode_raw(value: str) -> str:
    if value.isascii():
        return value
    try:
        # Text in Latin-1 is almost never UTF-8 by chance: "é" before a letter or blank is not.
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value


def _decode_words(value: str) -> Iterator[str]:
    """Yield the parts of a value; blanks between two words belong to neither (RFC 2047 section 6.2)."""
    end = 0
    # Words in a row of one charset: writers cut letters in two, so their bytes are joined first.
    words: list[re.Match[str]] = []
    for word in _WORD.finditer(value):
        between = value[end : word.start()]
        if words and (between.strip(" \t") or not _same_charset(words[-1], word)):
            yield _decode_row(words)
            words = []
        if between.strip(" \t") or not end:
            yield between
        words.append(word)
        end = word.end()
    if words:
        yield _decode_row(words)
    yield value[end:]


def _same_charset(one: re.Match[str], other: re.Match[str]) -> bool:
    return one[1].lower() == other[1].lower()


def _decode_row(words: list[re.Match[str]]) -> str:
    """Return what words in a row say, or the words themselves where they say nothing that is text."""
    written = " ".join(word[0] for word in words)
    charset = words[0][1]
    if not _CHARSETS.fullmatch(charset):
        return written
    try:
        text = b"".join(map(_word_bytes, words)).decode(charset)
        # Half of a surrogate pair is no text: neither JSON nor the database takes it.
        text.encode()
    except (UnicodeError, LookupError, ValueError):
        return written
    return text


def _word_bytes(word: re.Match[str]) -> bytes:
    if word[2] in "Bb":
        data = word[3].encode("ascii")
        try:
            return b64decode(data + b"=" * (-len(data) % 4), validate=True)
        except binascii.Error as error:
            raise ValueError("not Base64") from error
    return decodestring(word[3].encode("ascii"), header=True)


def content_disposition(filename: str) -> str:
    """Return a Content-Disposition that saves under `filename` (RFC 6266: an ASCII and a UTF-8 form)."""
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in filename
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
