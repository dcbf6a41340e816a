"""A worker's heart, without servers."""

import os
import time
from pathlib import Path

import pytest
from celery import Celery

from face3d.settings import Settings
from tasks.artifacts import open_cache
from tasks.heartbeat import Heart


def test_a_worker_without_work_forgets_what_it_kept_of_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(state_dir=tmp_path, gpu_type="cpu", heartbeat_seconds=0.01)
    cache = open_cache(settings)
    for key in ("erased/preprocess/1/result", "running/preprocess/1/result"):
        cache.put(key, b"pixels")
    old = cache.path("erased/preprocess/1/result")
    os.utime(old, (0, 0))
    monkeypatch.setattr(Heart, "_beat", lambda _: None)
    heart = Heart(Celery(), settings, queues=[])
    heart.start()
    deadline = time.monotonic() + 5
    while old.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    heart._stopped.set()
    assert not old.parent.exists()
    assert cache.get("running/preprocess/1/result") == b"pixels"
