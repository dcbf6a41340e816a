"""Reading the JSON of events: whatever has another shape than expected is an `InvalidEvent`."""

import json
from typing import Any, TypeAlias

from face3d.errors import InvalidEvent
from face3d.messages import ObjectCreated
from storage.intake import is_directory_key

#: S3's own limit of a key, bytes of UTF-8.
MAX_KEY_BYTES = 1024

JsonObject: TypeAlias = dict[str, Any]


def load_object(text: bytes | str) -> JsonObject:
    """Return the JSON object that a body holds.

    Raises:
        InvalidEvent: it is not UTF-8, not JSON, or not an object.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("The event is not JSON.") from error
    if not isinstance(document, dict):
        raise InvalidEvent("The event is not a JSON object.")
    return document


def child(document: JsonObject, name: str) -> JsonObject:
    """Return the object under a name."""
    value = document.get(name)
    if not isinstance(value, dict):
        raise InvalidEvent(f"The event has no object {name!r}.")
    return value


def children(document: JsonObject, name: str) -> list[JsonObject]:
    """Return the objects in the list under a name; null counts as an empty list."""
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise InvalidEvent(f"The event has no list {name!r} of objects.")
    return value


def text(document: JsonObject, name: str) -> str:
    """Return the non-empty text under a name."""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidEvent(f"The event has no text {name!r}.")
    return value


def object_created(bucket: str, key: str, sequencer: object = None) -> list[ObjectCreated]:
    """Return the one event of a decoded key, or none for a directory's marker.

    Raises:
        InvalidEvent: no storage can hold an object of that name.
    """
    if is_directory_key(key):
        return []
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidEvent("The event's key is not Unicode text.") from error
    if size > MAX_KEY_BYTES:
        raise InvalidEvent(f"The event's key is longer than {MAX_KEY_BYTES} bytes.")
    order = sequencer if isinstance(sequencer, str) and sequencer else None
    return [ObjectCreated(bucket=bucket, key=key, sequencer=order)]
