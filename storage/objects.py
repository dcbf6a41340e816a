"""What a store says of one object."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from face3d.errors import StorageUnavailable
from storage.metadata import decode_metadata


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What the storage says of one object."""

    bucket: str
    key: str
    #: Without the quotes that S3 puts around it.
    etag: str
    size: int
    #: Empty in a listing, which does not tell it.
    content_type: str = ""
    #: User metadata, names in lower case without `x-amz-meta-`; empty in a listing.
    metadata: Mapping[str, str] = field(default_factory=dict)
    last_modified: datetime | None = None
    #: Whether the metadata are missing here because they are too many or too long to be read.
    unreadable: bool = False


def describe_object(bucket: str, key: str, answer: Mapping[str, Any]) -> ObjectInfo:
    """Return what an answer to HEAD or GET says of its object.

    Raises:
        StorageUnavailable: it names no ETag.
    """
    if not answer.get("ETag"):
        raise StorageUnavailable("The object store names no ETag.")
    return ObjectInfo(
        bucket=bucket,
        key=key,
        etag=unquote(answer["ETag"]),
        size=int(answer["ContentLength"]),
        content_type=answer.get("ContentType", ""),
        metadata=decode_metadata(answer.get("Metadata", {})),
        last_modified=answer.get("LastModified"),
    )


def unquote(etag: str) -> str:
    """Return an ETag without the quotes that S3 puts around it."""
    return etag.strip('"')
