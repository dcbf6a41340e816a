"""Names in the buckets: every key that Face3D itself writes is made here.

work bucket    <job>/<stage>/<attempt>/<name>     artifacts of one attempt
asset bucket   <job>/<attempt>/<name>             the asset that packaging's attempt wrote
inbox bucket   api/<random>                       photos that came through the API
"""

import secrets

from face3d.states import StageName

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


def _segment(name: str) -> str:
    """Return a path segment unchanged, or raise ValueError: a prefix must not reach its neighbours."""
    if not name or "/" in name or name in (".", ".."):
        raise ValueError("a segment of a key is not empty and holds no slash")
    return name
