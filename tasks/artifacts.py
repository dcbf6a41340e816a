"""Artifacts of attempts: written to the work bucket, read back through a cache on this host.

S3 is the truth; the cache only saves a worker from fetching what a worker beside it wrote a moment ago. A
prefix belongs to one attempt and is never rewritten, so a cached file cannot be stale.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from db.results import StoredFile
from face3d.settings import Settings
from storage.client import Storage

#: Files written at once.
_UPLOADS = 4

#: Less than this in all is written one after another.
_SMALL_BYTES = 2 * 2**20

#: Copies under way; `result()` of each is the file as it lies in the new place.
Copies = list[Future[StoredFile]]

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
    """Recent artifacts in a folder of this host, a folder for each job."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._swept_at = 0.0

    def path(self, key: str) -> Path:
        """Return where a key's file lies, in the folder of its job."""
        job_id, _, rest = key.partition("/")
        return self._folder / job_id / hashlib.sha256(rest.encode()).hexdigest()

    def get(self, key: str) -> bytes | None:
        """Return a cached file."""
        try:
            return self.path(key).read_bytes()
        except OSError:
            return None

    def put(self, key: str, data: bytes) -> None:
        """Keep a file for the worker beside us; a full disk is no error."""
        with contextlib.suppress(OSError):
            self.sweep()
            path = self.path(key)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # An attempt writes a key once, so no two writers meet; readers see the whole file or none.
            partial = path.with_suffix(".part")
            partial.write_bytes(data)
            partial.rename(path)

    def forget(self, job_id: str) -> None:
        """Delete all that is kept of a job."""
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def sweep(self) -> None:
        """Delete old files, and the oldest beyond the limit; at most twice a minute."""
        now = time.time()
        if now - self._swept_at < _CACHE_SECONDS / 10 or not self._folder.is_dir():
            return
        self._swept_at = now
        files = [path for path in self._folder.glob("*/*") if path.is_file()]
        entries = sorted(((path.stat(), path) for path in files), key=lambda entry: entry[0].st_mtime)
        total = sum(stat.st_size for stat, _ in entries)
        for stat, path in entries:
            if now - stat.st_mtime > _CACHE_SECONDS or total > self._max_bytes:
                total -= stat.st_size
                path.unlink(missing_ok=True)
        for folder in self._folder.iterdir():
            with contextlib.suppress(OSError):
                folder.rmdir()  # Only an empty one goes.


def open_cache(settings: Settings) -> HostCache:
    """Return this host's cache of artifacts."""
    return HostCache(settings.state_dir / "cache" / "artifacts", max_bytes=2 * 2**30)


class ArtifactStore:
    """Reads and writes the files of attempts."""

    def __init__(self, storage: Storage, cache: HostCache) -> None:
        self._storage = storage
        self._cache = cache
        # Kept between jobs: starting threads costs as much as a small upload.
        self._pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")

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

        if len(files) == 1 or sum(map(len, files.values())) < _SMALL_BYTES:
            return [put(item) for item in files.items()]
        return list(self._pool.map(put, files.items()))

    def copy(self, files: Sequence[StoredFile], source_prefix: str, bucket: str, prefix: str) -> Copies:
        """Begin to copy files inside the storage; the work may go on meanwhile."""

        def copy_one(file: StoredFile) -> StoredFile:
            self._storage.copy(
                file.bucket,
                source_prefix + file.name,
                bucket,
                prefix + file.name,
                content_type=file.content_type,
            )
            return replace(file, bucket=bucket)

        return [self._pool.submit(copy_one, file) for file in files]
