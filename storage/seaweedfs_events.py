"""Events of SeaweedFS: its filer's webhook, which knows files and folders rather than S3.

A key is `/buckets/<bucket>/<key>`, not encoded. One upload in parts makes an event for each part below
`.uploads` and one for the object; making a bucket, owners' records and folders make events too. `update`
comes for an overwrite and for a change of tags alike: only a changed ETag is a new photo, and only changed
user metadata, which holds the options, are a new wish for the same one.
"""

import base64
import binascii

from face3d.errors import InvalidEvent
from face3d.messages import ObjectCreated
from storage.event_json import JsonObject, child, object_created, text

ROOT = "/buckets/"

#: Parts of uploads that are not complete lie here, in each bucket.
PARTS_FOLDER = ".uploads"

#: A folder's bit in a file mode as Go writes it (os.ModeDir), which the filer stores.
MODE_DIRECTORY = 1 << 31

IGNORED_TYPES = frozenset({"delete"})
KNOWN_TYPES = frozenset({"create", "update", "rename"})


def parse_seaweedfs(document: JsonObject) -> list[ObjectCreated]:
    """Return the object that a filer event announces; none for noise.

    Raises:
        InvalidEvent: not a filer event, or of a type that is not known.
    """
    kind = text(document, "event_type")
    if kind in IGNORED_TYPES:
        return []
    if kind not in KNOWN_TYPES:
        raise InvalidEvent("The filer event is of a type that is not known.")
    message = child(document, "message")
    path = text(document, "key")
    entry = child(message, "new_entry")
    if kind == "rename":
        # `key` is the old path there.
        path = f"{text(message, 'new_parent_path')}/{text(entry, 'name')}"
    if _is_directory(entry) or (kind == "update" and _is_same_content(message, entry)):
        return []
    return _object_at(path)


def _object_at(path: str) -> list[ObjectCreated]:
    if not path.startswith(ROOT):
        return []
    bucket, _, key = path.removeprefix(ROOT).partition("/")
    # Bucket names never start with a dot: `.system` and its like are the filer's own.
    if not bucket or bucket.startswith(".") or key.partition("/")[0] == PARTS_FOLDER:
        return []
    return object_created(bucket, key)


def _is_directory(entry: JsonObject) -> bool:
    if entry.get("is_directory") is True:
        return True
    attributes = entry.get("attributes")
    mode = attributes.get("file_mode") if isinstance(attributes, dict) else None
    return isinstance(mode, int) and bool(mode & MODE_DIRECTORY)


def _is_same_content(message: JsonObject, entry: JsonObject) -> bool:
    old = message.get("old_entry")
    if not isinstance(old, dict):
        return False
    etag = _etag(entry)
    return etag is not None and etag == _etag(old) and _user_metadata(entry) == _user_metadata(old)


def _user_metadata(entry: JsonObject) -> dict[str, object]:
    extended = entry.get("extended")
    if not isinstance(extended, dict):
        return {}
    return {name: value for name, value in extended.items() if name.lower().startswith("x-amz-meta-")}


def _etag(entry: JsonObject) -> str | None:
    """Return a file's ETag as hex: S3's own where the entry has it, else the MD5 of its bytes."""
    extended, attributes = entry.get("extended"), entry.get("attributes")
    try:
        if isinstance(extended, dict) and isinstance(value := extended.get("Seaweed-X-Amz-ETag"), str):
            return base64.b64decode(value).decode("ascii")
        if isinstance(attributes, dict) and isinstance(value := attributes.get("md5"), str):
            return base64.b64decode(value).hex()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return None
