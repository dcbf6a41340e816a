"""The storage event, and the type of every array that crosses from one package to another."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ObjectCreated:
    """An object appeared in a bucket; etag, size and metadata are asked later by HEAD."""

    bucket: str
    #: Decoded: what a client passes to GetObject.
    key: str
    #: Orders events of one key where the storage gives one; never compared across keys.
    sequencer: str | None = None
