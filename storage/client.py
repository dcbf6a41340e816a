"""The S3 client of every package: few verbs, pooled connections, errors of ours.

A `Storage` may be made before a fork and shared by threads: connections are made on first use in each
process. CPU a call counts (a job makes some twenty), so needless checksums and the `Expect: 100-continue`
round trip are off.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from face3d.errors import StorageUnavailable
from face3d.settings import Settings
from storage.connection import QUICK, StorageConfig, connect, translate_errors
from storage.errors import ObjectExists, ObjectMissing, ObjectRefused, ObjectUnreadable
from storage.layout import as_path, can_be_key, is_hidden_key
from storage.metadata import content_disposition, encode_metadata
from storage.objects import ObjectInfo, describe_object, unquote
from storage.versions import (
    ObjectVersion,
    UnfinishedUpload,
    list_uploads,
    list_versions,
    read_versioning,
)

__all__ = ["Storage", "StorageConfig"]

#: S3's own limit of keys in one DeleteObjects request.
DELETE_BATCH = 1000

#: How long the answer counts whether a bucket keeps versions.
VERSIONING_SECONDS = 60.0

#: Bytes that `stream` hands on at a time.
STREAM_CHUNK = 256 * 1024


class Storage:
    """An S3-compatible object store.

    Every method raises `StorageUnavailable` where the store cannot be reached or answers with a fault.
    """

    def __init__(self, config: StorageConfig, *, is_away: Callable[[], bool] | None = None) -> None:
        self._config = config
        self._is_away = is_away
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._pid = os.getpid()
        #: Bucket to whether it keeps versions, and until when that counts.
        self._versioning: dict[str, tuple[bool, float]] = {}

    @classmethod
    def from_settings(
        cls, settings: Settings, *, quick: bool = False, is_away: Callable[[], bool] | None = None
    ) -> "Storage":
        """Return the storage that the settings name; connects on first use.

        Args:
            settings: name the store.
            quick: give up within ten seconds (see `QUICK`), for who answers somebody that waits.
            is_away: tells that the store need not be asked.
        """
        return cls(StorageConfig.from_settings(settings, **(QUICK if quick else {})), is_away=is_away)

    # -- one object

    def head(self, bucket: str, key: str) -> ObjectInfo:
        """Return what the store knows of an object.

        Raises:
            ObjectMissing: there is no such object.
            ObjectRefused: the store refuses such a key.
        """
        if not can_be_key(key):
            raise ObjectRefused
        try:
            with translate_errors(refusals=True):
                answer = self._client().head_object(Bucket=bucket, Key=key)
        except ObjectRefused:
            # A HEAD is answered without a reason: a wrong region or expired keys are refused alike.
            self.ping(bucket)
            raise
        except ObjectUnreadable:
            return self._head_by_list(bucket, key)
        return describe_object(bucket, key, answer)

    def _head_by_list(self, bucket: str, key: str) -> ObjectInfo:
        """Return what a listing tells of an object whose own headers cannot be read."""
        for info in self.list(bucket, key):
            if info.key == key:
                return replace(info, unreadable=True)
        raise ObjectMissing

    def stored_key(self, bucket: str, key: str) -> str:
        """Return the key under which the store keeps what was PUT as `key`.

        SeaweedFS keeps files in folders: `/a.jpg`, `x//y.jpg` and `x\\y.jpg` become `a.jpg` and `x/y.jpg`; to
        other stores those are two objects.
        """
        path = as_path(key)
        if path == key:
            return key
        try:
            one, other = self.head(bucket, key), self.head(bucket, path)
        except (ObjectMissing, ObjectRefused):
            return key
        return path if replace(one, key=path) == other else key

    def get(self, bucket: str, key: str, *, if_match: str | None = None) -> bytes:
        """Return an object's bytes.

        Args:
            bucket: its bucket.
            key: its key.
            if_match: the ETag that it must still have.

        Raises:
            ObjectMissing: there is no such object.
            ObjectReplaced: it has another ETag than `if_match`.
        """
        condition = {"IfMatch": f'"{if_match}"'} if if_match else {}
        with translate_errors():
            answer = self._client().get_object(Bucket=bucket, Key=key, **condition)
            data: bytes = answer["Body"].read()
        return data

    def stream(self, bucket: str, key: str) -> tuple[ObjectInfo, Iterator[bytes]]:
        """Return an object's description and its bytes in chunks.

        Raises:
            ObjectMissing: there is no such object.
        """
        with translate_errors():
            answer = self._client().get_object(Bucket=bucket, Key=key)

        def chunks() -> Iterator[bytes]:
            with closing(answer["Body"]) as body, translate_errors():
                yield from body.iter_chunks(STREAM_CHUNK)

        return describe_object(bucket, key, answer), chunks()

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_none_match: bool = False,
    ) -> str:
        """Write an object and return its ETag (without quotes).

        Args:
            bucket: where to.
            key: under which name.
            data: the bytes.
            content_type: its media type.
            metadata: user metadata; text beyond ASCII travels as RFC 2047 words.
            if_none_match: refuse to overwrite.

        Raises:
            ObjectExists: `if_none_match`, and the key is taken.
            ObjectRefused: SeaweedFS would never list such a key, so nothing would find the object again.
        """
        if is_hidden_key(key):
            raise ObjectRefused
        condition = {"IfNoneMatch": "*"} if if_none_match else {}
        with translate_errors(precondition=ObjectExists):
            answer = self._client().put_object(
                Bucket=bucket,
                Key=key,
                Body=data,
                ContentType=content_type,
                Metadata=encode_metadata(metadata or {}),
                **condition,
            )
        return unquote(answer["ETag"])

    def copy(
        self, src_bucket: str, src_key: str, dst_bucket: str, dst_key: str, *, content_type: str
    ) -> None:
        """Copy an object inside the store.

        Raises:
            ObjectMissing: the source is not there.
        """
        with translate_errors():
            self._client().copy_object(
                Bucket=dst_bucket,
                Key=dst_key,
                CopySource={"Bucket": src_bucket, "Key": src_key},
                ContentType=content_type,
                MetadataDirective="REPLACE",
            )

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there is no error. A bucket with versions keeps the old ones."""
        with translate_errors():
            self._client().delete_object(Bucket=bucket, Key=key)

    # -- many objects

    def list(self, bucket: str, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects under a prefix, page by page, in the store's own order.

        That is by the bytes of the keys, as S3 says, but for SeaweedFS, which goes folder by folder: there a
        listing that starts after a key leaves out what S3 would list.
        """
        arguments = {"Bucket": bucket, "Prefix": prefix}
        if start_after:
            arguments["StartAfter"] = start_after
        while True:
            with translate_errors():
                page = self._client().list_objects_v2(**arguments)
            for entry in page.get("Contents", ()):
                yield ObjectInfo(
                    bucket=bucket,
                    key=entry["Key"],
                    etag=unquote(entry.get("ETag", "")),
                    size=int(entry["Size"]),
                    last_modified=entry.get("LastModified"),
                )
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def delete_prefix(self, bucket: str, prefix: str, *, keep: str | None = None) -> int:
        """Delete all objects under a prefix for good, old versions too, and return how many there were.

        Args:
            bucket: where.
            prefix: whose objects.
            keep: leave those under this prefix.
        Raises:
            ValueError: the prefix is empty or does not end with a slash (it would reach its neighbours).
        """
        if not prefix.strip("/") or not prefix.endswith("/"):
            raise ValueError("a prefix to delete is not empty and ends with a slash")
        found: list[dict[str, str]]
        if self.keeps_versions(bucket):
            found = [{"Key": one.key, "VersionId": one.version_id} for one in self.versions(bucket, prefix)]
        else:
            found = [{"Key": info.key} for info in self.list(bucket, prefix)]
        if keep:
            found = [one for one in found if not one["Key"].startswith(keep)]
        self._delete_batches(bucket, found)
        return len(found)

    def _delete_batches(self, bucket: str, objects: Sequence[dict[str, str]]) -> None:
        kept = 0
        for start in range(0, len(objects), DELETE_BATCH):
            batch = objects[start : start + DELETE_BATCH]
            with translate_errors():
                answer = self._client().delete_objects(
                    Bucket=bucket, Delete={"Objects": list(batch), "Quiet": True}
                )
            kept += len(answer.get("Errors", ()))
        if kept:
            raise StorageUnavailable(f"The object store kept {kept} of {len(objects)} objects.")

    # -- what a plain listing does not show

    def versioning(self, bucket: str) -> str:
        """Return `Enabled`, `Suspended`, empty, or `unknown` where the keys may not ask."""
        return read_versioning(self._client(), bucket)

    def keeps_versions(self, bucket: str) -> bool:
        """Tell whether a bucket may hold old versions; what was learned counts for a minute."""
        known = self._versioning.get(bucket)
        if known is None or time.monotonic() > known[1]:
            keeps = self.versioning(bucket) in ("Enabled", "Suspended")
            known = self._versioning[bucket] = (keeps, time.monotonic() + VERSIONING_SECONDS)
        return known[0]

    def versions(self, bucket: str, prefix: str = "") -> Iterator[ObjectVersion]:
        """Yield all versions and markers under a prefix."""
        return list_versions(self._client(), bucket, prefix)

    def delete_versions(self, bucket: str, versions: Sequence[ObjectVersion]) -> None:
        """Delete versions, or markers, for good."""
        self._delete_batches(bucket, [{"Key": one.key, "VersionId": one.version_id} for one in versions])

    def unfinished_uploads(self, bucket: str) -> Iterator[UnfinishedUpload]:
        """Yield the uploads in parts that were begun and not ended."""
        return list_uploads(self._client(), bucket)

    def abort_upload(self, bucket: str, upload: UnfinishedUpload) -> None:
        """Delete the parts of an upload; one that has ended meanwhile is no error."""
        with translate_errors(tolerate=("NoSuchUpload",)):
            self._client().abort_multipart_upload(Bucket=bucket, Key=upload.key, UploadId=upload.upload_id)

    # -- links and buckets

    def presign_get(self, bucket: str, key: str, *, seconds: int, filename: str | None = None) -> str:
        """Return a link that anyone may GET for some seconds, under the store's public address.

        Args:
            bucket: the object's bucket.
            key: its key.
            seconds: how long the link works.
            filename: makes browsers save it under this name rather than show it.
        """
        parameters = {"Bucket": bucket, "Key": key}
        if filename:
            parameters["ResponseContentDisposition"] = content_disposition(filename)
        with translate_errors():
            link: str = self._client(public=True).generate_presigned_url(
                "get_object", Params=parameters, ExpiresIn=seconds
            )
        return link

    def ensure_bucket(self, bucket: str) -> None:
        """Make a bucket unless it exists."""
        try:
            self.ping(bucket)
        except ObjectMissing:
            region = self._config.region
            constraint = (
                {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            )
            with translate_errors(tolerate=("BucketAlreadyOwnedByYou", "BucketAlreadyExists")):
                self._client().create_bucket(Bucket=bucket, **constraint)

    def ping(self, bucket: str | None = None) -> None:
        """Return if the store answers (and the bucket exists).

        Raises:
            ObjectMissing: there is no such bucket.
        """
        with translate_errors():
            if bucket is None:
                self._client().list_buckets()
            else:
                self._client().head_bucket(Bucket=bucket)

    # -- connections

    def prepare(self) -> None:
        """Build the client now rather than in the first request: botocore reads megabytes of API models."""
        self._client()

    def _client(self, *, public: bool = False) -> Any:
        if not public and self._is_away is not None and self._is_away():
            raise StorageUnavailable("The object store does not answer.")
        endpoint = self._config.endpoint
        name = "main"
        if public and self._config.public_endpoint:
            endpoint, name = self._config.public_endpoint, "public"
        client = self._clients.get(name) if self._pid == os.getpid() else None
        return client or self._make_client(name, endpoint)

    def _make_client(self, name: str, endpoint: str | None) -> Any:
        if self._pid != os.getpid():
            # Sockets must not be shared with the parent, and its lock may have been held at the fork.
            self._lock, self._clients, self._pid = threading.Lock(), {}, os.getpid()
        with self._lock:
            if name not in self._clients:
                self._clients[name] = connect(self._config, endpoint)
            return self._clients[name]
