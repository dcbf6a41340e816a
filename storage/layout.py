"""Names in the buckets: every key that Face3D itself writes is made here.

work bucket    <job>/<stage>/<attempt>/<name>     artifacts of one attempt
asset bucket   <job>/<attempt>/<name>             the asset that packaging's attempt wrote
inbox bucket   api/<random>                       photos that came through the API
"""

import re
import secrets

from face3d.states import StageName

#: S3's own limit of a key, bytes of UTF-8.
MAX_KEY_BYTES = 1024

#: SeaweedFS keeps an object's versions in a folder beside it, and lists nothing that lies in such a folder.
VERSIONS_SUFFIX = ".versions"

#: SeaweedFS keeps the parts of unfinished uploads in this folder of each bucket, and does not list it either.
PARTS_FOLDER = ".uploads"

#: Photos uploaded through the API lie under this prefix of the inbox.
UPLOAD_PREFIX = "api/"


def job_prefix(job_id: str) -> str:
    """Return the prefix of all that one job wrote, in the work and in the asset bucket."""
    return f"{_segment(job_id)}/"


def artifact_prefix(job_id: str, stage: StageName | str, attempt: int) -> str:
    """Return the prefix of one attempt's artifacts in the work bucket."""
    return f"{job_prefix(job_id)}{_segment(str(stage))}/{attempt:d}/"


def artifact_key(job_id: str, stage: StageName | str, attempt: int, name: str) -> str:
    """Return the key of one artifact in the work bucket."""
    return artifact_prefix(job_id, stage, attempt) + _segment(name)


def asset_prefix(job_id: str, attempt: int) -> str:
    """Return the prefix of an asset in the asset bucket."""
    return f"{job_prefix(job_id)}{attempt:d}/"


def asset_key(job_id: str, attempt: int, name: str) -> str:
    """Return the key of one file of an asset."""
    return asset_prefix(job_id, attempt) + _segment(name)


def upload_key() -> str:
    """Return a new key for a photo that comes through the API; it tells nothing of the person."""
    return UPLOAD_PREFIX + secrets.token_hex(16)


def can_be_key(key: str) -> bool:
    """Tell whether stores and database can hold an object's key: 1 to 1024 bytes of UTF-8 without NUL."""
    try:
        return 0 < len(key.encode()) <= MAX_KEY_BYTES and "\0" not in key
    except UnicodeEncodeError:
        return False


def is_hidden_key(key: str) -> bool:
    """Tell whether SeaweedFS would store an object of that key and never list it: no sweep finds it."""
    folders = key.split("/")[:-1]
    return folders[:1] == [PARTS_FOLDER] or any(name.endswith(VERSIONS_SUFFIX) for name in folders)


def as_path(key: str) -> str:
    """Return a key as a store keeps it that has folders (SeaweedFS): no empty names, no backslashes."""
    return re.sub(r"[/\\]+", "/", key).lstrip("/")


def _segment(name: str) -> str:
    """Return a path segment unchanged, or raise ValueError.

    A prefix must not reach its neighbours, and what we write must be listed again, or it is never deleted.
    """
    if not name or "/" in name or name in (".", ".."):
        raise ValueError("a segment of a key is not empty and holds no slash")
    if is_hidden_key(f"{name}/"):
        raise ValueError("a segment of a key is no folder that SeaweedFS keeps for itself")
    return name
