"""A photo in one go: its file piece by piece shows what the file in one shows; a refused one gives none."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from assets.png import join_pieces, stream_filtered_png
from face3d.errors import ErrorCode, RefusedError
from face3d.options import JobOptions
from face3d.stage_results import PreprocessedPhoto
from gpu_workers.engines.null.engine import NullEngine
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.serving.in_process import OneShotReconstructor, Product
from tests.corpus import drawing
from tests.corpus.bases import real_face
from tests.unit.head.head_support import astronaut, engine, png

pytestmark = pytest.mark.heavy

SMALL = JobOptions(texture_size=1024)


@pytest.fixture(scope="module")
def one_shot() -> OneShotReconstructor:
    return OneShotReconstructor(engine(), threads=2)


@pytest.mark.parametrize("product", ["png", "jpeg", "glb"])
def test_the_pieces_are_the_file(one_shot: OneShotReconstructor, product: Product) -> None:
    photo = png(astronaut())
    whole = one_shot.reconstruct(photo, SMALL, product)
    pieces = list(one_shot.stream(photo, SMALL, product))
    file = join_pieces(pieces)
    if product == "glb":
        assert file[:4] == whole.data[:4] == b"glTF"
        assert len(file) == pytest.approx(len(whole.data), rel=0.01)
    else:
        # Two bakes on a CPU: how many threads add up a sum depends on what runs beside it.
        first, second = (np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in (whole.data, file))
        assert np.abs(first - second).max() <= 2
        assert (first != second).mean() < 0.01
    assert (len(pieces) > 1) == (product == "png")
    assert {"landmarks", "geometry", "masks", "quality", "first pixel", product} == set(whole.marks)


def test_a_png_comes_in_pieces_that_open(one_shot: OneShotReconstructor) -> None:
    file = join_pieces(one_shot.stream(png(astronaut()), SMALL, "png"))
    with Image.open(io.BytesIO(file)) as image:
        assert image.size == (1024, 1024)
        image.load()


def test_what_a_photo_hides_counts_in_one_go_as_it_does_stage_after_stage(
    one_shot: OneShotReconstructor,
) -> None:
    photo = png(np.ascontiguousarray(drawing.sunglasses(real_face()).pixels))
    whole = one_shot.reconstruct(photo, SMALL, "glb")
    prepared = engine().preprocess(photo, SMALL, PhotoLimits())
    geometry = engine().geometry(prepared, SMALL)
    assert whole.geometry.facts["scale_from"] == geometry.facts["scale_from"] == "template"
    heads = [result.head for result in (whole.geometry, geometry)]
    for one, other in zip(*(head.parts for head in heads), strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-5)


def test_a_refused_photo_gives_no_piece(one_shot: OneShotReconstructor) -> None:
    pieces = one_shot.stream(png(np.full((600, 600, 3), 128, np.uint8)), SMALL, "png")
    with pytest.raises(RefusedError) as refused:
        next(pieces)
    assert refused.value.code is ErrorCode.NO_FACE


def test_a_refused_photos_bands_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, baked, asked = threading.Event(), threading.Event(), []

    def band() -> np.ndarray:
        asked.append(1)
        arrived.wait(10)
        return np.zeros((32, 1 + 3 * 32), np.uint8)

    def refuse(
        _photo: bytes, _options: object, _limits: object, begin: Callable[[PreprocessedPhoto], None]
    ) -> None:
        begin(NullEngine().preprocess(b"", SMALL, PhotoLimits()))
        assert baked.wait(10)
        raise RefusedError(ErrorCode.TOO_DARK, "The photo is too dark.")

    stand_in = SimpleNamespace(preprocess=refuse, find_masks=lambda _: None, begin_geometry=lambda *_: None)
    one_shot = OneShotReconstructor(stand_in, threads=1)
    with ThreadPoolExecutor(1) as pool:
        # Held here, so that it is closed and not merely collected.
        pieces = stream_filtered_png(32, 32 * 16, [band] * 16, pool)
        monkeypatch.setattr(one_shot, "_bake", lambda _: baked.set() or (pieces, None))
        with pytest.raises(RefusedError):
            next(one_shot.stream(b"photo", SMALL))
        # The thread that bakes has handed over what it baked.
        one_shot._bakers.shutdown()
        arrived.set()
    assert len(asked) <= 1
