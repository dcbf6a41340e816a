"""Events of the S3 form, `{"Records": [...]}`: AWS S3, MinIO, RustFS, Ceph RGW.

Differences: MinIO wraps the records with EventName (2017: EventType) and Key, writes `/` in keys as %2F, and
names changes of tags and locks ObjectCreated too; Ceph does not URL-encode keys (rgw_notify.cc writes the
object's name as it is) and writes sizes as text; the prefix `s3:` of event names comes and goes; sequencers
may be missing or no numbers at all.
"""

from urllib.parse import unquote_plus

from face3d.errors import InvalidEvent
from storage.event_json import (
    Announcement,
    JsonObject,
    as_object,
    child,
    children,
    object_created,
    read_each,
    text,
)

#: AWS: equal major versions are compatible, minor ones only add fields.
SUPPORTED_MAJOR_VERSION = "2"

#: MinIO's events under ObjectCreated that leave the bytes alone.
NOT_A_CREATION = frozenset({"PutTagging", "DeleteTagging", "PutRetention", "PutLegalHold"})


def parse_records(document: JsonObject, *, url_encoded: bool) -> Announcement:
    """Return the objects that a notification of the S3 form announces.

    In a bucket with versions a record names the key, and the version beside it: intake reads the newest one.

    Args:
        document: the notification.
        url_encoded: whether the sender encodes keys as in a query string (space as `+`).

    Raises:
        InvalidEvent: the shape is not known, or no record's is.
    """
    if document.get("Event") == "s3:TestEvent":
        return Announcement()
    if "Records" not in document:
        raise InvalidEvent("The event has no records.")
    return read_each(
        children(document, "Records"), lambda record: parse_record(as_object(record), url_encoded=url_encoded)
    )


def parse_record(record: JsonObject, *, url_encoded: bool) -> Announcement:
    """Return the object that one record announces; none where it tells of something else.

    Raises:
        InvalidEvent: the shape or the version is not known.
    """
    version = text(record, "eventVersion")
    if version.partition(".")[0] != SUPPORTED_MAJOR_VERSION:
        raise InvalidEvent("The event has a version that is not known.")
    family, _, action = text(record, "eventName").removeprefix("s3:").partition(":")
    if family != "ObjectCreated" or action in NOT_A_CREATION:
        return Announcement()
    s3 = child(record, "s3")
    entry = child(s3, "object")
    key = text(entry, "key")
    if url_encoded:
        key = _decode(key)
    return object_created(text(child(s3, "bucket"), "name"), key, entry.get("sequencer"))


def _decode(key: str) -> str:
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeError as error:
        raise InvalidEvent("The event's key is not URL-encoded UTF-8.") from error
