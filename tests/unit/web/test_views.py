"""What the API says of a job, and how an upload's form is read."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from db.models import Artifact, Job, Stage
from face3d.errors import ErrorCode, RefusedError
from face3d.states import STAGES, StageState
from web.middleware.bodies import Body, Held
from web.middleware.limits import FORM_BYTES, Limits
from web.problems import ApiError
from web.uploads import clean_name, read_form
from web.views import estimate_percent, view_job

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_job(*states: str, **changes: object) -> Job:
    job = Job(
        id="j", bucket="b", key="k", etag="e", size=3, content_type=None, state="running", tier="batch",
        source="event", options={}, created_at=START,
    )  # fmt: skip
    for name, value in changes.items():
        setattr(job, name, value)
    job.stages = [
        Stage(
            name=name.value, ordinal=number, state=state, attempt=1,
            started_at=START if state in ("running", "done") else None,
            finished_at=START + timedelta(seconds=2) if state == "done" else None,
        )
        for number, (name, state) in enumerate(zip(STAGES, states, strict=True))
    ]  # fmt: skip
    return job


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_running_stage_only_moves_forward_and_never_claims_to_be_done(one: float, two: float) -> None:
    early, late = (estimate_percent(StageState.RUNNING, seconds, 2.0) for seconds in sorted((one, two)))
    assert 0 <= early <= late <= 95


def test_stages_that_take_long_weigh_more() -> None:
    typical = {"preprocess": 1.0, "geometry": 1.0, "texture": 7.0, "packaging": 1.0}
    view = view_job(a_job("done", "done", "waiting", "waiting"), typical_seconds=typical)
    assert view.percent == 20.0
    assert [stage.percent for stage in view.stages] == [100, 100, 0, 0]
    assert [stage.seconds for stage in view.stages] == [2, 2, None, None]


def test_a_refusal_is_told_with_numbers_as_numbers() -> None:
    failed = a_job(
        "failed", "waiting", "waiting", "waiting", state="failed", error_code="face_too_small",
        error_message="The face is too small.", error_value="17.5", error_limit="40.0",
    )  # fmt: skip
    error = view_job(failed, typical_seconds={}).error
    assert error is not None
    assert (error.code, error.value, error.limit) == ("face_too_small", 17.5, 40.0)


def test_files_point_back_to_the_api() -> None:
    ready = a_job("done", "done", "done", "done", state="ready", quality="good")
    file = Artifact(name="head.glb", size=9, content_type="model/gltf-binary", sha256="ab")
    view = view_job(ready, typical_seconds={}, artifacts=[file])
    assert view.percent == 100
    assert [(entry.name, entry.url) for entry in view.files] == [("head.glb", "/v1/jobs/j/files/head.glb")]


def form_request(body: bytes, chunk: int = 1000) -> Request:
    """Return a multipart request, and count what is read of it in `scope['read']`."""
    chunks = [body[start : start + chunk] for start in range(0, len(body), chunk)]
    scope = {
        "type": "http",
        "method": "POST",
        "headers": [
            (b"content-type", b"multipart/form-data; boundary=B"),
            (b"transfer-encoding", b"chunked"),
        ],
        "read": 0,
    }

    async def receive() -> dict[str, object]:
        part = chunks.pop(0)
        scope["read"] += len(part)
        return {"type": "http.request", "body": part, "more_body": bool(chunks)}

    return Request(scope, receive)


def form_body(photo: bytes | None, **fields: str) -> bytes:
    lines = []
    for name, value in fields.items():
        lines.append(f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    if photo is not None:
        head = b'--B\r\nContent-Disposition: form-data; name="photo"; filename="p"\r\n'
        head += b"Content-Type: image/PNG\r\n\r\n"
        lines.append(head + photo + b"\r\n")
    return b"".join(lines) + b"--B--\r\n"


def test_a_form_is_read() -> None:
    form = asyncio.run(read_form(form_request(form_body(b"\x00data", ref="é", tier="batch")), max_bytes=100))
    assert (form.data, form.content_type) == (b"\x00data", "image/png")
    assert form.options == {"ref": "é", "tier": "batch"}
    assert form.name == "p"


def test_a_photo_that_is_too_large_is_refused_and_not_read_to_its_end() -> None:
    request = form_request(form_body(b"x" * (FORM_BYTES + 500_000)))
    limits = Limits(body=1000, frame=FORM_BYTES, too_large="image_too_large", streamed=True)
    body = Body(request.scope, request.receive, limits, Held(10**9))
    with pytest.raises(ApiError) as refused:
        asyncio.run(read_form(Request(request.scope, body.receive), max_bytes=1000))
    problem = refused.value.problem
    assert (refused.value.status, problem.code, problem.limit) == (413, "image_too_large", 1000)
    assert request.scope["read"] < 2 * FORM_BYTES
    with pytest.raises(RefusedError) as caught:
        asyncio.run(read_form(form_request(form_body(b"x" * 1001)), max_bytes=1000))
    assert (caught.value.code, caught.value.limit) == (ErrorCode.IMAGE_TOO_LARGE, 1000)


def test_a_form_without_a_photo_is_refused() -> None:
    with pytest.raises(ApiError, match="photo"):
        asyncio.run(read_form(form_request(form_body(None, ref="no photo")), max_bytes=1000))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"source": "api", "key": "api/0123", "name": "me.jpg"}, "me.jpg"),
        ({"source": "api", "key": "api/0123"}, None),
        ({"source": "event", "key": "in/José.jpg"}, "José.jpg"),
        ({"source": "sweep", "key": "a.jpg"}, "a.jpg"),
        ({"source": "event", "key": "erased/j", "state": "erased"}, None),
    ],
)
def test_a_job_has_its_photos_name(changes: dict[str, object], name: str | None) -> None:
    job = a_job("waiting", "waiting", "waiting", "waiting", **changes)
    assert view_job(job, typical_seconds={}).name == name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("me.jpg", "me.jpg"),
        ("C:\\Users\\me\\José.HEIC", "José.HEIC"),
        ("../../etc/passwd", "passwd"),
        ("a\x00b\x1b[2J.jpg", "ab[2J.jpg"),
        ("\ud800.jpg", ".jpg"),
        ("x" * 300, "x" * 255),
        (" ", None),
        ("folder/", None),
    ],
)
def test_a_files_name_is_kept_without_folders_and_control_characters(given: str, name: str | None) -> None:
    assert clean_name(given) == name
