"""A job with a second view: both photos reach the engine, or the job is refused."""

from types import SimpleNamespace
from typing import Any

import pytest

from face3d.errors import ErrorCode, RefusedError
from face3d.messages import StageResult, load_result
from face3d.options import JobOptions
from face3d.settings import Settings
from gpu_workers.engines.null.engine import NullEngine
from storage.errors import ObjectMissing, ObjectReplaced
from storage.objects import ObjectInfo
from tasks.base import Timings
from tasks.stages import RESULT, preprocess_photo


class OnePhotoEngine:
    """Says which photo it was given."""

    name = "one"
    version = "1"

    def preprocess(self, photo: bytes, *_: object) -> StageResult:
        return StageResult(facts={"photo": photo.decode()})


class FakeStorage:
    """Holds one bucket; an object may say that it is larger than what is kept here."""

    def __init__(self, photos: dict[str, bytes], sizes: dict[str, int]) -> None:
        self.photos, self.sizes = photos, sizes
        self.read: list[tuple[str, str | None]] = []

    def head(self, bucket: str, key: str) -> ObjectInfo:
        if key not in self.photos:
            raise ObjectMissing
        size = self.sizes.get(key, len(self.photos[key]))
        return ObjectInfo(bucket=bucket, key=key, etag=f"etag of {key}", size=size)

    def get(self, bucket: str, key: str, *, if_match: str | None = None) -> bytes:
        self.read.append((key, if_match))
        return self.photos[key]


def context(
    engine: object, photos: dict[str, bytes], view_of: str = "front.jpg", sizes: dict[str, int] | None = None
) -> Any:
    written: dict[str, bytes] = {}
    return SimpleNamespace(
        engine=engine,
        options=JobOptions(view_of=view_of),
        settings=Settings(max_bytes=1000),
        timings=Timings(),
        storage=FakeStorage(photos, sizes or {}),
        job=SimpleNamespace(bucket="inbox", key="turned.jpg", etag="e"),
        lease=SimpleNamespace(job_id="1", stage="preprocess", attempt=1),
        held=SimpleNamespace(check=lambda: None),
        artifacts=SimpleNamespace(
            write_result=lambda bucket, prefix, name, data: written.update({name: data}) or []
        ),
        ran={},
        written=written,
    )


PHOTOS = {"turned.jpg": b"turned", "front.jpg": b"front"}


def test_an_engine_that_takes_one_photo_refuses_a_second_one() -> None:
    with pytest.raises(RefusedError, match="Engine one cannot take a second view") as caught:
        preprocess_photo(context(OnePhotoEngine(), PHOTOS))
    assert caught.value.code is ErrorCode.BAD_OPTION
    assert caught.value.value == "front.jpg"


@pytest.mark.parametrize("front", [b"front", b""])
def test_the_frontal_photo_is_prepared_and_the_jobs_own_is_the_second_view(front: bytes) -> None:
    class TwoPhotoEngine(NullEngine):
        def preprocess(self, photo: bytes, *_: object) -> StageResult:
            return StageResult(facts={"frontal": photo.decode()})

        def add_view(self, prepared: StageResult, photo: bytes, *_: object) -> StageResult:
            return StageResult(facts={**prepared.facts, "view": photo.decode()})

    job = context(TwoPhotoEngine(), {**PHOTOS, "front.jpg": front})
    preprocess_photo(job)
    assert load_result(job.written[RESULT]).facts == {"frontal": front.decode(), "view": "turned"}
    assert job.storage.read[1] == ("front.jpg", "etag of front.jpg")


def refusal(job: Any) -> tuple[ErrorCode, object, object]:
    with pytest.raises(RefusedError) as caught:
        preprocess_photo(job)
    return caught.value.code, caught.value.value, caught.value.limit


def test_a_frontal_photo_over_the_limit_is_refused_unread() -> None:
    job = context(NullEngine(), PHOTOS, sizes={"front.jpg": 1001})
    assert refusal(job) == (ErrorCode.IMAGE_TOO_LARGE, 1001, 1000)
    assert [key for key, _ in job.storage.read] == ["turned.jpg"]


def test_a_photo_is_no_view_of_itself() -> None:
    code, value, limit = refusal(context(NullEngine(), PHOTOS, view_of="turned.jpg"))
    assert (code, value) == (ErrorCode.BAD_OPTION, "turned.jpg")
    assert "another photo" in str(limit)


def test_a_frontal_photo_that_is_not_there_or_changes_is_refused() -> None:
    job = context(NullEngine(), PHOTOS, view_of="nobody.jpg")
    assert refusal(job)[:2] == (ErrorCode.VIEW_MISSING, "nobody.jpg")

    class Changing(FakeStorage):
        def get(self, bucket: str, key: str, *, if_match: str | None = None) -> bytes:
            if key == "front.jpg":
                raise ObjectReplaced
            return super().get(bucket, key, if_match=if_match)

    job.options, job.storage = JobOptions(view_of="front.jpg"), Changing(PHOTOS, {})
    assert refusal(job)[0] is ErrorCode.PHOTO_REPLACED
