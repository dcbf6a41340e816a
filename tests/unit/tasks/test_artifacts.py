"""Artifacts of attempts: in parts, side by side, and read back as they were."""

import hashlib
import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from face3d.errors import StorageUnavailable
from face3d.messages import StageResult, dump_result
from tasks.artifacts import ArtifactStore, HostCache


class MemoryStorage:
    """An object store in memory; keys that end as `broken` says cannot be written."""

    def __init__(self, broken: str = "nothing") -> None:
        self.objects: dict[str, bytes] = {}
        self._broken = broken

    def put(self, bucket: str, key: str, data: bytes, *, content_type: str) -> str:
        if key.endswith(self._broken):
            raise StorageUnavailable
        assert type(data) is bytes, "botocore takes no view of memory"
        self.objects[f"{bucket}/{key}"] = data
        return "etag"

    def get(self, bucket: str, key: str) -> bytes:
        return self.objects[f"{bucket}/{key}"]


def open_store(storage: MemoryStorage, folder: Path) -> ArtifactStore:
    return ArtifactStore(storage, HostCache(folder, max_bytes=2**30))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 10, 2**20 - 1, 2**20, 2**20 + 1, 5_000_003])
def test_a_result_of_any_size_is_read_back_on_this_host_and_on_another(size: int, tmp_path: Path) -> None:
    storage = MemoryStorage()
    data = bytes(range(251)) * (size // 251) + bytes(size % 251)
    (stored,) = open_store(storage, tmp_path / "here").write_result("work", "job/stage/1/", "result.x", data)
    assert (stored.name, stored.size) == ("result.x", size)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    assert all(key.startswith("work/job/stage/1/result.x") for key in storage.objects)
    assert all(len(kept) <= 2**20 + 30 for kept in storage.objects.values())
    for host in ("here", "there"):
        assert open_store(storage, tmp_path / host).read("work", "job/stage/1/result.x") == data


def test_an_empty_stage_result_is_not_taken_for_parts(tmp_path: Path) -> None:
    storage, data = MemoryStorage(), dump_result(StageResult())
    open_store(storage, tmp_path / "here").write_result("work", "job/stage/1/", "result.safetensors", data)
    there = open_store(storage, tmp_path / "there")
    assert there.read("work", "job/stage/1/result.safetensors") == data


def test_files_of_the_asset_stay_whole_and_keep_their_order(tmp_path: Path) -> None:
    storage = MemoryStorage()
    files = {"head.glb": bytes(3_000_000), "preview.png": b"picture", "manifest.json": b"{}"}
    with open_store(storage, tmp_path).begin("assets", "job/1/") as uploads:
        for name, data in files.items():
            uploads.add(name, data)
        stored = uploads.finish()
    assert storage.objects == {f"assets/job/1/{name}": data for name, data in files.items()}
    assert [file.name for file in stored] == list(files)
    assert [file.sha256 for file in stored] == [hashlib.sha256(data).hexdigest() for data in files.values()]
    assert stored[0].content_type == "model/gltf-binary"
    assert not list(tmp_path.rglob("*")), "only results are worth a place in the host's cache"


@pytest.mark.parametrize("broken", ["head.glb", "result.x", "result.x.part001"])
def test_nothing_counts_as_written_when_one_object_is_not(broken: str, tmp_path: Path) -> None:
    with open_store(MemoryStorage(broken), tmp_path).begin("work", "job/stage/1/") as uploads:
        uploads.add("head.glb", b"head")
        uploads.add_result("result.x", bytes(3_000_000))
        with pytest.raises(StorageUnavailable):
            uploads.finish()


def test_one_file_that_stays_keeps_no_other_in_the_host_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = HostCache(tmp_path, max_bytes=2**30)
    for number in range(5):
        cache.put(f"job{number}/geometry/1/result.x", b"a face")
    files = sorted(tmp_path.glob("*/*"))
    assert len(files) == 5
    for file in files:
        os.utime(file, (0, 0))
    stubborn, unlink = files[1], Path.unlink

    def refuse_one(path: Path, missing_ok: bool = False) -> None:
        if path == stubborn:
            raise PermissionError
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_one)
    with pytest.raises(PermissionError):
        HostCache(tmp_path, max_bytes=2**30).sweep()
    assert sorted(tmp_path.glob("*/*")) == [stubborn]


def test_a_folder_that_another_process_sweeps_at_the_same_time_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = HostCache(tmp_path, max_bytes=2**30)
    for number in range(5):
        cache.put(f"job{number}/geometry/1/result.x", b"a face")
    for file in tmp_path.glob("*/*"):
        os.utime(file, (0, 0))
    listdir, scandir = os.listdir, os.scandir

    def sweep_one(path: object) -> None:
        if path == tmp_path:
            shutil.rmtree(tmp_path / "job1", ignore_errors=True)

    def list_names(path: Path) -> list[str]:
        names = listdir(path)
        sweep_one(path)
        return names

    def list_entries(path: Path) -> AbstractContextManager[list[os.DirEntry[str]]]:
        with scandir(path) as found:
            entries = list(found)
        sweep_one(path)
        return nullcontext(entries)

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", list_names)
        patch.setattr(os, "scandir", list_entries)
        HostCache(tmp_path, max_bytes=2**30).sweep()
    assert list(tmp_path.iterdir()) == []
