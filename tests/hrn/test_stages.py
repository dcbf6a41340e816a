"""The staged reconstruction against ModelScope's own call."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage.data
import torch

from face3d.errors import ErrorCode, RefusedError
from gpu_workers.engines.hrn.stages import FrontReconstruction
from tests.hrn.conftest import STEPS


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return skimage.data.astronaut()


def test_stages_equal_the_one_call(front: FrontReconstruction, photo: np.ndarray) -> None:
    crops = front.crop(photo)
    fitted = front.fit(crops)
    texture = front.colour(crops, fitted, STEPS)
    front.model.tex_iters = STEPS
    whole = front.pipeline(np.ascontiguousarray(photo[..., ::-1]))
    np.testing.assert_array_equal(fitted.vertices, whole["output"]["mesh"]["vertices"])
    np.testing.assert_array_equal(front.faces, whole["output"]["mesh"]["faces"] - 1)
    np.testing.assert_allclose(texture, whole["output_img"][..., ::-1] / 255, atol=1e-5)
    # The fit does something, and no face lies outside of its picture.
    assert np.abs(texture - front.colour(crops, fitted, 0)).max() > 0.01
    assert np.abs(fitted.vertices).max() < 2


def test_an_expression_changes_without_a_network(
    front: FrontReconstruction, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = front.fit(front.crop(photo))

    def refuse(*_: object) -> None:
        raise AssertionError("a network was asked")

    for network in (front.model.net_recon, front.model.mid_net, front.model.high_net):
        monkeypatch.setattr(type(network), "forward", refuse)
    np.testing.assert_allclose(front.express(fitted, np.zeros(64, np.float32)), fitted.neutral, atol=1e-6)
    smiling = front.express(fitted, np.eye(64, dtype=np.float32)[3])
    assert np.abs(smiling - fitted.neutral).max() > 0.01


def test_threads_do_not_disturb_each_other(front: FrontReconstruction, photo: np.ndarray) -> None:
    photos = [photo, np.ascontiguousarray(photo[:, ::-1])]
    alone = [front.fit(front.crop(picture)) for picture in photos]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda picture: front.fit(front.crop(picture)), photos))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.vertices, other.vertices, atol=1e-6)
    assert np.abs(alone[0].vertices - alone[1].vertices).max() > 1e-3


def test_crops_know_where_they_were_cut(front: FrontReconstruction, photo: np.ndarray) -> None:
    crops = front.crop(photo)
    row, column = np.mgrid[20:200:12, 20:200:12]
    places = np.stack([column, row], -1) + 0.5
    x, y = np.moveaxis(places * crops.to_photo[:2] + crops.to_photo[2:], -1, 0)
    inside = (x > 2) & (y > 2) & (x < 508) & (y < 508)
    seen = photo[np.clip(y, 0, 511).astype(int), np.clip(x, 0, 511).astype(int)][inside] / 255
    cut = crops.small[0].transpose(1, 2, 0)[row, column][inside]
    assert inside.mean() > 0.5
    # Resampled by another filter: most places agree, edges less.
    assert np.median(np.abs(seen - cut)) < 0.02


def test_what_a_detector_misses_is_refused(
    front: FrontReconstruction, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(front.pipeline.lm_sess, "get_landmarks_from_image", lambda _: None)
        with pytest.raises(RefusedError, match="second detection") as refused:
            front.crop(photo)
        assert refused.value.code is ErrorCode.NO_FACE
    monkeypatch.setattr(front.pipeline, "infer_lmks", lambda _: ([], []))
    with pytest.raises(RefusedError, match="first detection"):
        front.crop(photo)


def test_the_fitted_front_is_the_same_for_a_photo_above_the_pipelines_limit(
    front: FrontReconstruction, photo: np.ndarray
) -> None:
    large = photo.repeat(4, axis=0).repeat(4, axis=1)
    crops = front.crop(large)
    assert crops.small.shape == (1, 3, 224, 224)
    assert np.abs(crops.landmarks / 4 - front.crop(photo).landmarks).max() < 6


def test_no_library_of_others_draws(front: FrontReconstruction) -> None:
    import sys

    assert not {"nvdiffrast", "pytorch3d", "tensorflow"} & set(sys.modules)
    assert front.model.renderer.ndc_proj.device == torch.device("cpu")
