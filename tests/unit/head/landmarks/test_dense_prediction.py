"""The trained network on a photo of a real person, and its way through preprocess and geometry."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from face3d.options import JobOptions
from face3d.stage_results import FittedHead
from gpu_workers.head.landmarks import dense_network_cuda
from gpu_workers.head.landmarks.dense_network import FACE_NETWORK, FACE_NETWORK_SHA256, load_face_network
from gpu_workers.head.landmarks.dense_prediction import look_at_face, network_word
from gpu_workers.head.stages import preprocess
from tests.unit.head.head_support import LIMITS, astronaut, engine, model_dir, png, prepared_astronaut

pytestmark = pytest.mark.heavy

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _models():
    model_dir()


@pytest.fixture(scope="module")
def network():
    return load_face_network(FACE_NETWORK, FACE_NETWORK_SHA256)


def test_the_network_in_the_package_finds_the_astronauts_face(network):
    landmarks = prepared_astronaut().landmarks
    predicted, disagreement = look_at_face(network, astronaut(), landmarks, 1.0, CPU)
    # Two detectors that share no weight and no training picture.
    assert disagreement < 0.03
    eyes = np.linalg.norm(landmarks[33, :2] - landmarks[263, :2])
    points = predicted.points
    assert len(points) == 628
    nose, ear = points[1, 2], points[234, 2]
    assert 0.4 * eyes < ear - nose < 1.4 * eyes, "the nose stands before the ear"
    deviation = predicted.deviation / eyes
    assert (deviation > 0.005).all()
    assert np.median(deviation[:468, 0]) < np.median(deviation[468:, 0]), "it knows the face best"


def test_a_softer_word_makes_the_points_weaker_and_not_others(network):
    landmarks = prepared_astronaut().landmarks
    loud, _ = look_at_face(network, astronaut(), landmarks, 1.0, CPU)
    soft, _ = look_at_face(network, astronaut(), landmarks, 0.25, CPU)
    np.testing.assert_allclose(soft.deviation, 2 * loud.deviation, rtol=1e-5)
    np.testing.assert_array_equal(soft.points, loud.points)


def test_points_far_from_the_landmarks_are_dropped(network):
    wrong = prepared_astronaut().landmarks.copy()
    wrong[:468:2, :2] += 25
    predicted, disagreement = look_at_face(network, astronaut(), wrong, 1.0, CPU)
    assert predicted is None
    assert disagreement > 0.08


def test_the_network_is_asked_about_turned_faces_only():
    assert network_word(0.0) == network_word(-4.0) == 0
    assert 0 < network_word(6.0) == network_word(-6.0) < 1
    assert network_word(15.0) == 1
    assert prepared_astronaut().facts["face_network"] == {"used": False}


def test_a_turned_face_is_fitted_with_the_network_alone_and_beside_others(monkeypatch):
    monkeypatch.setattr(preprocess, "network_word", lambda _: 1.0)
    turned = engine().preprocess(png(astronaut()), JobOptions(), LIMITS)
    assert turned.facts["face_network"]["used"]
    alone = engine().geometry(turned, JobOptions())
    plain = engine().geometry(prepared_astronaut(), JobOptions())
    together = engine().geometry_batch([prepared_astronaut(), turned], [JobOptions(), JobOptions()])

    def skin(result: FittedHead) -> np.ndarray:
        return result.head.part("skin").positions

    moved = np.linalg.norm(skin(alone) - skin(plain), axis=1)
    assert 2e-4 < np.median(moved) < 0.006
    np.testing.assert_allclose(skin(together[0]), skin(plain), atol=5e-5)
    np.testing.assert_allclose(skin(together[1]), skin(alone), atol=5e-5)


def test_the_warm_up_s_network_points_change_no_head():
    synthetic = engine()._synthetic_network_points(prepared_astronaut().landmarks)
    warmed = engine().geometry(replace(prepared_astronaut(), network=synthetic), JobOptions())
    plain = engine().geometry(prepared_astronaut(), JobOptions())
    heads = [result.head.part("skin").positions for result in (warmed, plain)]
    np.testing.assert_allclose(*heads, atol=1e-6)


def test_a_replayed_network_says_the_same_and_keeps_what_it_said(network, monkeypatch):
    """As a GPU runs it, with a stand-in for the capture."""

    class Repeated:
        """A captured call that writes to the same tensors again."""

        def __init__(self, function, *_):
            self._function, self._result = function, None

        def replay(self):
            found = self._function()
            if self._result is None:
                self._result = found
            for name, value in vars(self._result).items():
                value.copy_(getattr(found, name))
            return self._result

    monkeypatch.setattr(dense_network_cuda, "CapturedCall", Repeated)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    graphed = dense_network_cuda.GraphedFaceNetwork(network, CPU)
    size = network.plan.input_size
    crops = torch.randint(0, 255, (2, 1, size, size, 3), dtype=torch.uint8, generator=torch.manual_seed(3))
    found = [graphed.predict(crop) for crop in crops]
    for crop, estimate in zip(crops, found, strict=True):
        torch.testing.assert_close(estimate.points, network.predict(crop).points)
    both = graphed.predict(crops[:, 0])
    torch.testing.assert_close(both.points, torch.cat([one.points for one in found]), atol=1e-5, rtol=1e-4)
