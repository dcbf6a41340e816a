"""Artifacts of attempts: written to the work bucket, read back through a cache on this host.

S3 is the truth; the cache only saves a worker from fetching what a worker beside it wrote a moment ago. A
prefix belongs to one attempt and is never rewritten, so a cached file cannot be stale.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from db.results import StoredFile
from storage.client import Storage

#: Files written at once.
_UPLOADS = 4

#: The cache forgets files older than this.
_CACHE_SECONDS = 300.0

CONTENT_TYPES: Mapping[str, str] = {
    ".safetensors": "application/octet-stream",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".json": "application/json",
    ".glb": "model/gltf-binary",
    ".obj": "model/obj",
    ".mtl": "model/mtl",
}


def content_type(name: str) -> str:
    """Return the media type of a file of ours."""
    return CONTENT_TYPES.get(Path(name).suffix, "application/octet-stream")


class HostCache:
    """Recent artifacts in a folder of this host's memory or disk."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._swept_at = 0.0

    def path(self, key: str) -> Path:
        """Return where a key's file lies; the name tells nothing of it."""
        return self._folder / hashlib.sha256(key.encode()).hexdigest()

    def get(self, key: str) -> bytes | None:
        """Return a cached file."""
        try:
            return self.path(key).read_bytes()
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Keep a file for the worker beside us; a full disk is no error."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            descriptor, name = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(name).rename(self.path(key))

    def _sweep(self) -> None:
        now = time.time()
        if now - self._swept_at < _CACHE_SECONDS / 10:
            return
        self._swept_at = now
        entries = sorted(
            ((entry.stat(), entry) for entry in self._folder.iterdir()), key=lambda e: e[0].st_mtime
        )
        total = sum(stat.st_size for stat, _ in entries)
        for stat, entry in entries:
            if now - stat.st_mtime > _CACHE_SECONDS or total > self._max_bytes:
                total -= stat.st_size
                entry.unlink(missing_ok=True)


class ArtifactStore:
    """Reads and writes the files of attempts."""

    def __init__(self, storage: Storage, cache: HostCache) -> None:
        self._storage = storage
        self._cache = cache

    def read(self, bucket: str, key: str) -> bytes:
        """Return an artifact's bytes.

        Raises:
            ObjectMissing, StorageUnavailable
        """
        cached = self._cache.get(key)
        return self._storage.get(bucket, key) if cached is None else cached

    def write(self, bucket: str, prefix: str, files: Mapping[str, bytes]) -> list[StoredFile]:
        """Write files under a prefix, several at once, and return what was written.

        Raises:
            StorageUnavailable
        """

        def put(item: tuple[str, bytes]) -> StoredFile:
            name, data = item
            self._storage.put(bucket, prefix + name, data, content_type=content_type(name))
            self._cache.put(prefix + name, data)
            return StoredFile(
                name=name,
                bucket=bucket,
                size=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                content_type=content_type(name),
            )

        if len(files) == 1 or sum(map(len, files.values())) < 256 * 1024:
            return [put(item) for item in files.items()]
        with ThreadPoolExecutor(_UPLOADS) as pool:
            return list(pool.map(put, files.items()))
