"""Events of SeaweedFS: its filer's webhook, which knows files and folders rather than S3.

A key is `/buckets/<bucket>/<key>`, not encoded. One upload in parts makes an event for each part below
`.uploads` and one for the object; making a bucket, owners' records and folders make events too. `update`
comes for an overwrite and for a change of tags alike: only a changed ETag is a new photo, and only changed
user metadata, which holds the options, are a new wish for the same one.

A bucket with versions keeps those of `<key>` in a folder: a PUT makes the file `<key>.versions/v_<id>` first,
and then notes in the folder `<key>.versions` which one is the newest. Both are events of `<key>`: until the
second, a HEAD of the key still finds the version before. Deleting makes a version too, a marked one.
"""

import base64

from face3d.errors import InvalidEvent
from storage.event_json import Announcement, JsonObject, child, object_created, text
from storage.layout import PARTS_FOLDER, VERSIONS_SUFFIX

ROOT = "/buckets/"

#: A folder's bit in a file mode as Go writes it (os.ModeDir), which the filer stores.
MODE_DIRECTORY = 1 << 31

IGNORED_TYPES = frozenset({"delete"})
KNOWN_TYPES = frozenset({"create", "update", "rename"})

#: Extended attributes of the filer's entries, seen in 4.48: of a version, and of the folder of versions.
VERSION_ID = "Seaweed-X-Amz-Version-Id"
DELETE_MARKER = "Seaweed-X-Amz-Delete-Marker"
LATEST_VERSION_ID = "Seaweed-X-Amz-Latest-Version-Id"
LATEST_IS_DELETE_MARKER = "Seaweed-X-Amz-Latest-Version-Is-Delete-Marker"


def parse_seaweedfs(document: JsonObject) -> Announcement:
    """Return the object that a filer event announces; none for noise.

    Raises:
        InvalidEvent: not a filer event, or of a type that is not known.
    """
    kind = text(document, "event_type")
    if kind in IGNORED_TYPES:
        return Announcement()
    if kind not in KNOWN_TYPES:
        raise InvalidEvent("The filer event is of a type that is not known.")
    message = child(document, "message")
    path = text(document, "key")
    entry = child(message, "new_entry")
    if kind == "rename":
        # `key` is the old path there.
        path = f"{text(message, 'new_parent_path')}/{text(entry, 'name')}"
    if _is_directory(entry):
        return _newest_version(path, message, entry)
    if _is_delete_marker(entry) or (kind == "update" and _is_same_content(message, entry)):
        return Announcement()
    return _object_at(_key_of_version(path, entry))


def _object_at(path: str) -> Announcement:
    if not path.startswith(ROOT):
        return Announcement()
    bucket, _, key = path.removeprefix(ROOT).partition("/")
    # Bucket names never start with a dot: `.system` and its like are the filer's own.
    if not bucket or bucket.startswith(".") or key.partition("/")[0] == PARTS_FOLDER:
        return Announcement()
    return object_created(bucket, key)


def _key_of_version(path: str, entry: JsonObject) -> str:
    """Return the path of the object that a file is a version of; a file that is none keeps its own."""
    version = _extended(entry).get(VERSION_ID)
    folder, _, name = path.rpartition("/")
    if version is None or name != f"v_{_decode(version)}" or not folder.endswith(VERSIONS_SUFFIX):
        return path
    return folder.removesuffix(VERSIONS_SUFFIX)


def _is_delete_marker(entry: JsonObject) -> bool:
    return DELETE_MARKER in _extended(entry)


def _newest_version(path: str, message: JsonObject, folder: JsonObject) -> Announcement:
    """Return the object whose folder of versions names a new newest one that is no delete marker."""
    newest = _extended(folder)
    old = message.get("old_entry")
    before = _extended(old).get(LATEST_VERSION_ID) if isinstance(old, dict) else None
    version = newest.get(LATEST_VERSION_ID)
    if version is None or version == before or LATEST_IS_DELETE_MARKER in newest:
        return Announcement()
    return _object_at(path.removesuffix(VERSIONS_SUFFIX))


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
    return {name: value for name, value in _extended(entry).items() if name.lower().startswith("x-amz-meta-")}


def _extended(entry: JsonObject) -> JsonObject:
    extended = entry.get("extended")
    return extended if isinstance(extended, dict) else {}


def _etag(entry: JsonObject) -> str | None:
    """Return a file's ETag: S3's own where the entry has it, else the MD5 of its bytes in Base64."""
    own = _decode(_extended(entry).get("Seaweed-X-Amz-ETag"))
    attributes = entry.get("attributes")
    md5 = attributes.get("md5") if isinstance(attributes, dict) else None
    return own or (md5 if isinstance(md5, str) else None)


def _decode(value: object) -> str | None:
    """Return what an extended attribute says, or None where it is no Base64 of ASCII text."""
    try:
        return base64.b64decode(value).decode("ascii") if isinstance(value, str) else None
    except ValueError:
        return None
