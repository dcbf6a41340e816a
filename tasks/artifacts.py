"""Artifacts of attempts: written to the work bucket, read back through a cache on this host.

S3 is the truth; the cache only saves a worker from fetching what a worker beside it wrote a moment ago. A
prefix belongs to one attempt and is never rewritten, so a cached file cannot be stale.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Self

from db.results import StoredFile
from face3d.errors import ArtifactUnreadable
from face3d.settings import Settings
from storage.client import Storage

#: Objects written, copied or read at once.
_UPLOADS = 12

#: A larger result is stored in parts of about this size.
_PART_BYTES = 2**20

#: How the first of several parts begins: no safetensors file does, its header would be of absurd length.
_PARTS_MARK = b"face3d parts "
#: Digits of the number of parts at most: 10 GB.
_COUNT_DIGITS = 4

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
        """Delete old files, and the oldest beyond the limit; at most twice a minute.

        Raises:
            OSError: one could not be deleted, after all others were.
        """
        now = time.time()
        if now - self._swept_at < _CACHE_SECONDS / 10 or not self._folder.is_dir():
            return
        self._swept_at = now
        entries = []
        for folder in self._folder.iterdir():
            # Others of this host sweep too: what was listed may be gone, its folder as well.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for path in filter(Path.is_file, folder.iterdir()):
                    with contextlib.suppress(FileNotFoundError):
                        entries.append((path.stat(), path))
        entries.sort(key=lambda entry: entry[0].st_mtime)
        total = sum(stat.st_size for stat, _ in entries)
        trouble: OSError | None = None
        for stat, path in entries:
            if now - stat.st_mtime > _CACHE_SECONDS or total > self._max_bytes:
                total -= stat.st_size
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    trouble = error
        for folder in self._folder.iterdir():
            with contextlib.suppress(OSError):
                folder.rmdir()  # Only an empty one goes.
        if trouble is not None:
            raise trouble


def open_cache(settings: Settings) -> HostCache:
    """Return this host's cache of artifacts."""
    return HostCache(settings.state_dir / "cache" / "artifacts", max_bytes=2 * 2**30)


class Uploads:
    """Files of one attempt on their way to the storage; each leaves as soon as it is added.

    Used as a context: an error inside waits for what is under way, whose prefix no row will name.
    """

    def __init__(self, store: "ArtifactStore", bucket: str, prefix: str) -> None:
        self._store, self._bucket, self._prefix = store, bucket, prefix
        self._files: list[tuple[str, int, Future[str]]] = []
        self._puts: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        wait(self._puts)
        wait([digest for *_, digest in self._files])

    def add(self, name: str, data: bytes) -> None:
        """Begin to write a file."""
        self._begin(name, data, {name: data})

    def add_result(self, name: str, data: bytes) -> None:
        """Begin to write a file that `ArtifactStore.read` reads: a large one in parts, side by side."""
        self._begin(name, data, split_parts(name, data))
        self._puts.append(self._store.pool.submit(self._store.cache.put, self._prefix + name, data))

    def finish(self) -> list[StoredFile]:
        """Wait until all files are in the storage, and return them in the order in which they were added.

        Raises:
            StorageUnavailable
        """
        for put in self._puts:
            put.result()
        return [
            StoredFile(
                name=name,
                bucket=self._bucket,
                size=size,
                sha256=digest.result(),
                content_type=content_type(name),
            )
            for name, size, digest in self._files
        ]

    def _begin(self, name: str, data: bytes, objects: Mapping[str, bytes | memoryview]) -> None:
        submit = self._store.pool.submit
        self._puts += [submit(self._put, key, content_type(name), part) for key, part in objects.items()]
        self._files.append((name, len(data), submit(_digest, data)))

    def _put(self, name: str, kind: str, data: bytes | memoryview) -> None:
        self._store.storage.put(self._bucket, self._prefix + name, bytes(data), content_type=kind)


class ArtifactStore:
    """Reads and writes the files of attempts."""

    def __init__(self, storage: Storage, cache: HostCache) -> None:
        self.storage = storage
        self.cache = cache
        # Kept between jobs: starting threads costs as much as a small upload.
        self.pool = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload")

    def read(self, bucket: str, key: str) -> bytes:
        """Return the bytes of an artifact, which may lie there in parts.

        Raises:
            ObjectMissing, StorageUnavailable, ArtifactUnreadable
        """
        return self.read_all(bucket, [key])[0]

    def read_all(self, bucket: str, keys: Sequence[str]) -> list[bytes]:
        """Return the bytes of several artifacts, read side by side.

        Raises:
            ObjectMissing, StorageUnavailable, ArtifactUnreadable
        """
        cached = {key: self.cache.get(key) for key in keys}
        missing = [key for key, data in cached.items() if data is None]
        firsts = dict(zip(missing, map(read_first_part, self._get_all(bucket, missing)), strict=True))
        parts = {
            key: [key + part_suffix(number) for number in range(1, count)]
            for key, (count, _) in firsts.items()
        }
        rest = iter(self._get_all(bucket, [part for names in parts.values() for part in names]))
        read = {
            key: b"".join([data, *(next(rest) for _ in parts[key])]) if parts[key] else data
            for key, (_, data) in firsts.items()
        }
        return [read[key] if (kept := cached[key]) is None else kept for key in keys]

    def _get_all(self, bucket: str, keys: Sequence[str]) -> list[bytes]:
        if len(keys) <= 1:
            # A thread would cost more than it saves.
            return [self.storage.get(bucket, key) for key in keys]
        return list(self.pool.map(lambda key: self.storage.get(bucket, key), keys))

    def begin(self, bucket: str, prefix: str) -> Uploads:
        """Begin to write an attempt's files under its prefix."""
        return Uploads(self, bucket, prefix)

    def write_result(self, bucket: str, prefix: str, name: str, data: bytes) -> list[StoredFile]:
        """Write the only file of an attempt, and return what was written.

        Raises:
            StorageUnavailable
        """
        if len(data) < _PART_BYTES:
            # A thread would cost more than it saves.
            self.storage.put(bucket, prefix + name, data, content_type=content_type(name))
            self.cache.put(prefix + name, data)
            stored = StoredFile(
                name=name,
                bucket=bucket,
                size=len(data),
                sha256=_digest(data),
                content_type=content_type(name),
            )
            return [stored]
        with self.begin(bucket, prefix) as uploads:
            uploads.add_result(name, data)
            return uploads.finish()

    def copy(self, files: Sequence[StoredFile], source_prefix: str, bucket: str, prefix: str) -> Copies:
        """Begin to copy files inside the storage; the work may go on meanwhile."""

        def copy_one(file: StoredFile) -> StoredFile:
            self.storage.copy(
                file.bucket,
                source_prefix + file.name,
                bucket,
                prefix + file.name,
                content_type=file.content_type,
            )
            return replace(file, bucket=bucket)

        return [self.pool.submit(copy_one, file) for file in files]


def split_parts(name: str, data: bytes) -> dict[str, bytes | memoryview]:
    """Return the objects, name to bytes, as which a result is stored.

    A store hashes an object's bytes one after another, for most of the time that a PUT takes; several objects
    are hashed side by side. The first has the file's own name, and tells how many there are.
    """
    count = -(-len(data) // _PART_BYTES)
    if count <= 1:
        return {name: data}
    view, step = memoryview(data), -(-len(data) // count)
    parts = {name + part_suffix(number): view[number * step :][:step] for number in range(1, count)}
    return {name: b"".join([_PARTS_MARK, str(count).encode(), b"\n", view[:step]]), **parts}


def read_first_part(data: bytes) -> tuple[int, bytes]:
    """Return the number of a result's parts, and what the first object holds of it.

    Raises:
        ArtifactUnreadable: no such number stands there.
    """
    if not data.startswith(_PARTS_MARK):
        return 1, data
    count, _, rest = data.removeprefix(_PARTS_MARK).partition(b"\n")
    if not count.isdigit() or len(count) > _COUNT_DIGITS:
        raise ArtifactUnreadable("The artifact is damaged.")
    return int(count), rest


def part_suffix(number: int) -> str:
    """Return what follows a file's name in the name of a part."""
    return f".part{number:03d}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
