"""Bad input is a result: by S3 and API alike a code, a sentence, value and limit; the next photo works."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.conftest import Customer

#: One stack, in one process.
pytestmark = pytest.mark.xdist_group("stack")


def jpeg(image: Image.Image) -> bytes:
    """Return a picture as JPEG."""
    output = io.BytesIO()
    image.convert("RGB").save(output, "JPEG", quality=92)
    return output.getvalue()


def face(portrait: bytes) -> Image.Image:
    """Return the portrait's face with some surroundings."""
    return Image.open(io.BytesIO(portrait)).convert("RGB").crop((120, 0, 330, 230))


def bad_photo(kind: str, portrait: bytes) -> bytes:
    """Return a file that must be refused for that reason."""
    whole = Image.open(io.BytesIO(portrait)).convert("RGB")
    if kind == "not_an_image":
        return b"<!doctype html><title>404</title>"
    if kind == "truncated_image":
        return jpeg(whole)[:9000]
    if kind == "image_too_large":
        output = io.BytesIO()
        Image.new("1", (20_000, 20_000)).save(output, "PNG")
        return output.getvalue()
    if kind == "no_face":
        noise = np.random.default_rng(1).integers(0, 255, (40, 40, 3), np.uint8)
        return jpeg(Image.fromarray(noise).resize((800, 800), Image.Resampling.BICUBIC))
    if kind == "several_faces":
        one = face(portrait)
        both = Image.new("RGB", (2 * one.width, one.height))
        both.paste(one, (0, 0))
        both.paste(one, (one.width, 0))
        return jpeg(both.resize((both.width * 3, both.height * 3)))
    if kind == "face_too_small":
        return jpeg(whole.resize((200, 200), Image.Resampling.LANCZOS))
    if kind == "too_dark":
        return jpeg(Image.fromarray((np.asarray(whole) * 0.02).astype(np.uint8)))
    raise AssertionError(kind)


KINDS = (
    "not_an_image",
    "truncated_image",
    "image_too_large",
    "no_face",
    "several_faces",
    "face_too_small",
    "too_dark",
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_photo_in_the_bucket_ends_with_its_code(customer: Customer, portrait: bytes, kind: str) -> None:
    key = f"bad/{kind}.jpg"
    customer.put(key, bad_photo(kind, portrait))
    job = customer.wait_for_end(customer.job_of(key)["id"], seconds=40)
    assert (job["state"], job["error"]["code"]) == ("failed", kind)
    assert job["error"]["message"].endswith(".")
    message = customer.message_of(job["id"])
    assert message["type"] == "asset.failed"
    assert message["data"]["error"]["code"] == kind
    if kind in ("image_too_large", "several_faces", "face_too_small"):
        assert job["error"]["value"] is not None
        assert job["error"]["limit"] is not None


def test_the_api_refuses_alike(customer: Customer, portrait: bytes) -> None:
    answer = customer.api.post("/v1/jobs", files={"photo": ("x.jpg", b"not a photo", "image/jpeg")})
    job = customer.wait_for_end(answer.json()["id"], seconds=40)
    assert job["error"]["code"] == "not_an_image"
    answer = customer.api.post(
        "/v1/jobs",
        files={"photo": ("x.png", portrait, "image/png")},
        data={"texture-size": "5000"},
    )
    assert answer.status_code == 422
    assert answer.json()["code"] == "bad_option"
    assert "4096" in answer.json()["limit"]


def test_a_bad_option_in_the_metadata_names_the_allowed_values(customer: Customer, portrait: bytes) -> None:
    customer.put("bad/option.png", portrait, sharpen="maybe")
    job = customer.wait_for_end(customer.job_of("bad/option.png")["id"])
    assert job["error"]["code"] == "bad_option"
    assert job["error"]["value"] == "maybe"
    assert job["error"]["limit"] == "on, off"


def test_the_next_good_photo_works(customer: Customer, portrait: bytes) -> None:
    customer.put("good-after-bad.png", portrait)
    job = customer.wait_for_end(customer.job_of("good-after-bad.png")["id"])
    assert job["state"] == "ready"


def test_engine_hrn_says_plainly_that_it_is_not_here(customer: Customer, portrait: bytes) -> None:
    customer.put("hrn.png", portrait, engine="hrn")
    job = customer.wait_for_end(customer.job_of("hrn.png")["id"])
    assert job["error"]["code"] == "engine_unavailable"


def test_no_key_no_photo_and_no_secret_in_the_logs(customer: Customer, stack: object) -> None:
    from compose.local import Stack

    assert isinstance(stack, Stack)
    secrets = [value for value in stack.layout.credentials.values() if value]
    for log in stack.layout.logs.glob("*.log"):
        if log.name.startswith("seaweedfs"):
            continue  # Not ours to write.
        content = log.read_text(errors="replace")
        assert "bad/not_an_image.jpg" not in content, log.name
        assert "X-Amz-Signature" not in content, log.name
        assert not [s for s in secrets if s in content], log.name
