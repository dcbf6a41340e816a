"""Reading the JSON of events: whatever has another shape than expected is an `InvalidEvent`."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from face3d.errors import InvalidEvent
from face3d.messages import ObjectCreated
from storage.intake import is_directory_key
from storage.layout import MAX_KEY_BYTES, can_be_key

JsonObject: TypeAlias = dict[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class SubscriptionRequest:
    """A topic of Amazon SNS asks whether it may send its messages here."""

    #: The topic's ARN, of whatever form.
    topic: str
    #: The whole message: its token confirms, its signature shows that Amazon sent it.
    message: JsonObject = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """What one notification says, after all of its records were read."""

    created: list[ObjectCreated] = field(default_factory=list)
    #: Why records of it say nothing; the others count all the same.
    refused: list[InvalidEvent] = field(default_factory=list)
    subscriptions: list[SubscriptionRequest] = field(default_factory=list)

    def add(self, other: "Announcement") -> None:
        """Take in what another one says."""
        self.created.extend(other.created)
        self.refused.extend(other.refused)
        self.subscriptions.extend(other.subscriptions)


def read_each(items: Iterable[Item], read: Callable[[Item], Announcement]) -> Announcement:
    """Return what all items say; one that is not understood drops only itself.

    Raises:
        InvalidEvent: none of them was understood.
    """
    found = Announcement()
    understood, asked = 0, 0
    for item in items:
        asked += 1
        try:
            found.add(read(item))
            understood += 1
        except InvalidEvent as error:
            found.refused.append(error)
    if asked and not understood:
        raise found.refused[0]
    return found


def load_object(text: bytes | str) -> JsonObject:
    """Return the JSON object that a body holds.

    Raises:
        InvalidEvent: it is not UTF-8, not JSON, nested too deep, or not an object.
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


def children(document: JsonObject, name: str) -> list[object]:
    """Return the list under a name; null counts as an empty one."""
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidEvent(f"The event has no list {name!r}.")
    return value


def as_object(value: object) -> JsonObject:
    """Return an item of a list that must be an object."""
    if not isinstance(value, dict):
        raise InvalidEvent("A record of the event is no JSON object.")
    return value


def text(document: JsonObject, name: str) -> str:
    """Return the non-empty text under a name."""
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidEvent(f"The event has no text {name!r}.")
    return value


def object_created(bucket: str, key: str, sequencer: object = None) -> Announcement:
    """Return the one event of a decoded key, or none for a directory's marker.

    Raises:
        InvalidEvent: no storage can hold an object of that name.
    """
    if is_directory_key(key):
        return Announcement()
    if not can_be_key(key):
        raise InvalidEvent(
            f"The event's key is not Unicode text without NUL of at most {MAX_KEY_BYTES} bytes."
        )
    order = sequencer if isinstance(sequencer, str) and sequencer else None
    return Announcement(created=[ObjectCreated(bucket=bucket, key=key, sequencer=order)])
