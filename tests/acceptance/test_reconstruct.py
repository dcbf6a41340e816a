"""`POST /v1/reconstruct` as a process of its own: photo in, map out, and it survives what is no photo."""

import io
import subprocess
import sys
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from PIL import Image

from bench.gpu.http import serve
from face3d.options import JobOptions
from face3d.settings import Settings
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.photo_limits import PhotoLimits


@pytest.fixture(scope="module")
def server() -> Iterator[httpx.Client]:
    with serve(Settings().model_dir, "cpu") as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        yield client


def _post(server: httpx.Client, body: bytes, product: str) -> httpx.Response:
    return server.post("/v1/reconstruct", params={"product": product}, content=body)


def test_the_map_is_the_one_that_the_stages_make(server: httpx.Client, portrait: bytes) -> None:
    answer = _post(server, portrait, "png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    image = np.asarray(Image.open(io.BytesIO(answer.content)))
    engine = AnnyEngine(Settings().model_dir)
    prepared = engine.preprocess(portrait, JobOptions(), PhotoLimits())
    geometry = engine.geometry(prepared, JobOptions())
    staged = engine.texture(prepared, geometry, JobOptions()).tensors["albedo/skin"]
    assert image.shape == (4096, 4096, 3)
    # The server sums with another number of threads: a few texels round the other way.
    assert np.abs(image.astype(int) - staged).max() <= 1


def test_a_missing_device_is_one_sentence() -> None:
    command = [sys.executable, "-m", "web.reconstruct", "--device", "no-such-device", "--port", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1
    assert "The engine cannot run on no-such-device" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_jpeg_and_head(server: httpx.Client, portrait: bytes) -> None:
    jpeg = _post(server, portrait, "jpeg")
    assert Image.open(io.BytesIO(jpeg.content)).size == (4096, 4096)
    head = _post(server, portrait, "glb")
    assert (head.headers["content-type"], head.content[:4]) == ("model/gltf-binary", b"glTF")
    assert b"jawOpen" in head.content


def test_what_is_no_photo_is_refused_and_the_next_one_works(server: httpx.Client, portrait: bytes) -> None:
    refused = _post(server, b"<html>not found</html>", "png")
    assert (refused.status_code, refused.json()["code"]) == (422, "not_an_image")
    too_large = _post(server, bytes(PhotoLimits().max_bytes + 1), "png")
    assert (too_large.status_code, too_large.json()["code"]) == (413, "image_too_large")
    unknown = _post(server, portrait, "gif")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "bad_request")
    assert _post(server, portrait, "jpeg").status_code == 200
