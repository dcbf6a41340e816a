"""Versions of objects and parts of unfinished uploads: what a plain listing does not show."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from storage.connection import translate_errors
from storage.objects import unquote

#: Answers of stores that know no versions or no uploads in parts.
_UNKNOWN_THERE = ("NotImplemented", "MethodNotAllowed")


@dataclass(frozen=True, kw_only=True)
class ObjectVersion:
    """One version of an object, or the marker that a plain delete puts on top."""

    key: str
    #: `null` for what was written while the bucket kept no versions.
    version_id: str
    #: Without quotes; empty for a marker.
    etag: str
    is_latest: bool
    is_marker: bool
    last_modified: datetime


@dataclass(frozen=True, kw_only=True)
class UnfinishedUpload:
    """An upload in parts that was begun and not ended."""

    key: str
    upload_id: str
    initiated: datetime


def read_versioning(client: Any, bucket: str) -> str:
    """Return `Enabled`, `Suspended`, empty (never), or `unknown`: the keys may not ask.

    Raises:
        StorageUnavailable, ObjectMissing
    """
    with translate_errors():
        try:
            answer = client.get_bucket_versioning(Bucket=bucket)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "AccessDenied":
                return "unknown"
            if code in _UNKNOWN_THERE:
                return ""
            raise
    return str(answer.get("Status", ""))


def list_versions(client: Any, bucket: str, prefix: str) -> Iterator[ObjectVersion]:
    """Yield all versions and markers under a prefix, page by page.

    Raises:
        StorageUnavailable
    """
    arguments = {"Bucket": bucket, "Prefix": prefix}
    while True:
        with translate_errors():
            page = client.list_object_versions(**arguments)
        for kind in ("Versions", "DeleteMarkers"):
            for entry in page.get(kind, ()):
                yield ObjectVersion(
                    key=entry["Key"],
                    version_id=entry["VersionId"],
                    etag=unquote(entry.get("ETag", "")),
                    is_latest=bool(entry["IsLatest"]),
                    is_marker=kind == "DeleteMarkers",
                    last_modified=entry["LastModified"],
                )
        if not page.get("IsTruncated"):
            return
        arguments["KeyMarker"] = page["NextKeyMarker"]
        arguments["VersionIdMarker"] = page["NextVersionIdMarker"]


def list_uploads(client: Any, bucket: str) -> Iterator[UnfinishedUpload]:
    """Yield the uploads in parts that were not ended, page by page; none where the store knows none.

    Raises:
        StorageUnavailable
    """
    arguments: dict[str, Any] = {"Bucket": bucket}
    while True:
        page: dict[str, Any] = {}
        with translate_errors(tolerate=_UNKNOWN_THERE):
            page = client.list_multipart_uploads(**arguments)
        for entry in page.get("Uploads", ()):
            yield UnfinishedUpload(
                key=entry["Key"], upload_id=entry["UploadId"], initiated=entry["Initiated"]
            )
        if not page.get("IsTruncated"):
            return
        arguments |= {
            "KeyMarker": page["NextKeyMarker"],
            "UploadIdMarker": page["NextUploadIdMarker"],
        }
