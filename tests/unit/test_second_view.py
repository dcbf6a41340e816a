"""A job with a second view: both photos reach the engine, or the job is refused."""

from types import SimpleNamespace
from typing import Any

import pytest

from face3d.errors import ErrorCode, RefusedError
from face3d.messages import StageResult, load_result
from face3d.options import JobOptions
from face3d.settings import Settings
from gpu_workers.engines.null.engine import NullEngine
from tasks.base import Timings
from tasks.stages import RESULT, preprocess_photo


class OnePhotoEngine:
    """Says which photo it was given."""

    name = "one"
    version = "1"

    def preprocess(self, photo: bytes, *_: object) -> StageResult:
        return StageResult(facts={"photo": photo.decode()})


def context(engine: object, photos: dict[str, bytes]) -> Any:
    written: dict[str, bytes] = {}
    return SimpleNamespace(
        engine=engine,
        options=JobOptions(view_of="front.jpg"),
        settings=Settings(),
        timings=Timings(),
        storage=SimpleNamespace(get=lambda bucket, key, **_: photos[key]),
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
