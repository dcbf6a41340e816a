"""From "an object appeared" to what a job needs to know of it, by one HEAD."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from face3d.errors import ErrorCode, RefusedError
from face3d.messages import ObjectCreated
from face3d.options import JobOptions, is_text, options_from_metadata, parse_options
from face3d.settings import Settings
from face3d.states import PriorityClass
from storage.client import Storage
from storage.errors import ObjectMissing

#: What "make a folder" leaves behind in various clients.
DIRECTORY_TYPES = frozenset({"application/x-directory", "httpd/unix-directory"})

#: What a Content-Type is cut to: no real one is longer (RFC 6838 section 4.2 allows 127 a half).
MAX_CONTENT_TYPE = 255


def option_defaults(
    settings: Settings, *, priority_class: PriorityClass = PriorityClass.BATCH
) -> dict[str, str]:
    """Return what holds where a caller says nothing: one truth for event, sweep and API."""
    return {
        "engine": settings.engine,
        "texture-size": str(settings.texture_size),
        "tier": priority_class.value,
    }


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A photo in the inbox, as its storage describes it."""

    bucket: str
    key: str
    #: S3's own, without quotes.
    etag: str
    #: Bytes.
    size: int
    content_type: str
    #: None exactly when `refusal` says why.
    options: JobOptions | None
    #: `bad_option` or `image_too_large`: the job is made all the same, and ends with it.
    refusal: RefusedError | None
    #: When it was written, as the storage says.
    modified_at: datetime | None = None
    #: The options as the caller wrote them.
    raw_options: Mapping[str, str] = field(default_factory=dict)


def read_upload(
    storage: Storage, event: ObjectCreated, *, defaults: Mapping[str, str], max_bytes: int
) -> Upload | None:
    """Return the upload that an event speaks of.

    Args:
        storage: asked by one HEAD.
        event: bucket and key.
        defaults: options that hold where the metadata says nothing.
        max_bytes: a larger object is refused here, before anyone reads it.
    Returns:
        None for an object that is gone, and for the marker of a directory.
    Raises:
        ObjectRefused: the storage refuses such a key.
        StorageUnavailable: the storage did not answer.
    """
    if is_directory_key(event.key):
        return None
    try:
        info = storage.head(event.bucket, event.key)
    except ObjectMissing:
        return None
    if info.content_type.partition(";")[0].strip().lower() in DIRECTORY_TYPES:
        return None
    raw = options_from_metadata(info.metadata)
    options, refusal = read_options(raw, defaults=defaults)
    if info.unreadable:
        options, refusal = None, refuse_metadata()
    if info.size > max_bytes:
        options, refusal = None, refuse_size(info.size, max_bytes)
    return Upload(
        bucket=info.bucket,
        key=info.key,
        etag=info.etag,
        size=info.size,
        content_type=clean_content_type(info.content_type),
        options=options,
        refusal=refusal,
        modified_at=info.last_modified,
        raw_options=raw,
    )


def refuse_size(size: int, max_bytes: int) -> RefusedError:
    """Return the refusal of a file that is too large."""
    return RefusedError(
        ErrorCode.IMAGE_TOO_LARGE, "The photo's file is too large (bytes).", value=size, limit=max_bytes
    )


def refuse_metadata() -> RefusedError:
    """Return the refusal of an object whose options cannot be read."""
    return RefusedError(
        ErrorCode.BAD_OPTION,
        "The object's metadata are too many or too long to be read.",
        limit="100 headers, 64 KiB each",
    )


def clean_content_type(stated: str) -> str:
    """Return a client's media type as a row can hold it; what is no text becomes unknown."""
    return stated[:MAX_CONTENT_TYPE] if is_text(stated) else ""


def read_options(
    raw: Mapping[str, str], *, defaults: Mapping[str, str]
) -> tuple[JobOptions | None, RefusedError | None]:
    """Return the options, or the refusal that says what is wrong with them."""
    try:
        return parse_options(raw, defaults=defaults), None
    except RefusedError as refusal:
        return None, refusal


def is_directory_key(key: str) -> bool:
    """Tell whether a key can only be a directory's marker."""
    return not key or key.endswith(("/", "_$folder$"))
