"""Stage results cross between machines and versions: read as they were written, or not at all.

tests/data/unversioned_artifacts holds what the stages of engine `null` wrote before artifacts had a version.
"""

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from face3d import artifact_format
from face3d.artifact_format import dump_facts, dump_result, load_facts, load_result, to_arrays
from face3d.errors import ArtifactUnreadable
from face3d.head import CORRECTIVE_NAMES
from face3d.observed import EyeState, Observed
from face3d.options import JobOptions
from face3d.stage_results import DensePoints, FittedFront, FittedHead, NativeFace, PreprocessedPhoto
from gpu_workers.engines.hrn.stages import FaceCrops, HrnPhoto
from gpu_workers.engines.null.engine import NullEngine
from gpu_workers.photo_limits import PhotoLimits

UNVERSIONED = Path(__file__).parents[2] / "data" / "unversioned_artifacts"


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).random(shape, np.float32)


def photo() -> PreprocessedPhoto:
    """A photo with all that one can have."""
    points = DensePoints(points=random(9, 3), deviation=random(9, 2), loadings=random(27, 4))
    hidden = Observed(eyes=(EyeState.SHUT, EyeState.HIDDEN), mouth=False, tongue=True, colours=False)
    plain = PreprocessedPhoto(
        # Not contiguous, as a crop is.
        photo=(255 * random(40, 30, 3)).astype(np.uint8)[5:25, 3:27],
        landmarks=random(478, 3),
        scores=random(52),
        camera=np.array([900.5, 12.0, 10.0]),
        observed=hidden,
        network=points,
        facts={"quality": "good", "n": [1, 2]},
    )
    turned = replace(plain, landmarks=random(478, 2), network=None, observed=Observed(), facts={})
    return replace(plain, view=turned)


def head() -> FittedHead:
    engine, options = NullEngine(), JobOptions(expression="photo")
    fitted = engine.geometry(engine.preprocess(b"", options, PhotoLimits()), options)
    fit = FittedFront(
        coefficients=random(1, 257),
        deformation=random(1, 64, 64, 3),
        displacement=random(1, 1, 256, 256),
        albedo=random(1, 3, 256, 256),
        vertices=random(7, 3),
        neutral=random(7, 3),
    )
    triangles = np.array([[0, 1, 2]], np.int32)
    face = NativeFace(
        positions=random(7, 3), triangles=triangles, uvs=random(7, 2), placement=random(3, 4), fit=fit
    )
    return replace(fitted, native_face=face)


def assert_same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    elif is_dataclass(one):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other


@pytest.mark.parametrize("result", [photo(), head(), replace(head(), native_face=None)])
def test_a_result_arrives_as_it_left(result: PreprocessedPhoto | FittedHead) -> None:
    assert_same(load_result(type(result), dump_result(result)), result)


def test_what_an_engine_adds_arrives_and_is_left_out_by_who_does_not_know_it() -> None:
    crops = FaceCrops(
        small=random(1, 3, 4, 4),
        large=random(1, 3, 8, 8),
        mask=random(1, 1, 4, 4),
        widened=random(1, 3, 4, 4),
        landmarks=random(68, 2),
        to_photo=random(4),
    )
    own = HrnPhoto(**vars(photo()), crops=crops)
    data = dump_result(own)
    assert_same(load_result(HrnPhoto, data), own)
    assert_same(load_result(PreprocessedPhoto, data), photo())
    with pytest.raises(ArtifactUnreadable):
        load_result(HrnPhoto, dump_result(photo()))


def test_facts_arrive_as_they_left() -> None:
    facts = {"texel_shares": {"observed": 0.5}, "iris_colour": None, "name": "Zoë"}
    assert load_facts(dump_facts(facts)) == facts


@pytest.mark.parametrize(("stage", "kind"), [("preprocess", PreprocessedPhoto), ("geometry", FittedHead)])
def test_an_artifact_without_a_version_is_not_read(stage: str, kind: type[FittedHead]) -> None:
    data = (UNVERSIONED / f"{stage}.safetensors").read_bytes()
    with pytest.raises(ArtifactUnreadable, match="format 0, this worker reads 2"):
        load_result(kind, data)


def test_an_artifact_of_a_newer_version_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(artifact_format, "FORMAT_VERSION", 3)
        result, facts = dump_result(photo()), dump_facts({})
    with pytest.raises(ArtifactUnreadable, match="format 3, this worker reads 2"):
        load_result(PreprocessedPhoto, result)
    with pytest.raises(ArtifactUnreadable, match="format 3, this worker reads 2"):
        load_facts(facts)


WHOLE = dump_result(photo())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\0\0\0\0\0\0\0{}      ",
        b"\x0c\0\0\0\0\0\0\0not JSON at all",
        WHOLE[:-100],
        WHOLE[:50],
        WHOLE.replace(b'"landmarks"', b'"lostmarks"'),
        dump_result(head()),
    ],
    # safetensors writes its header's entries in any order, and names of tests must not depend on it.
    ids=["empty", "no entries", "no JSON", "cut short", "header cut", "array missing", "of geometry"],
)
def test_damaged_artifacts_and_those_of_another_stage_are_not_read(data: bytes) -> None:
    with pytest.raises(ArtifactUnreadable):
        load_result(PreprocessedPhoto, data)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"format": 2}', b'{"format": 2, "facts": 3}'])
def test_damaged_facts_are_not_read(data: bytes) -> None:
    with pytest.raises(ArtifactUnreadable):
        load_facts(data)


def test_the_names_and_types_of_format_2_do_not_change() -> None:
    """Who changes one writes another format: FORMAT_VERSION says so, and this list with it."""
    assert artifact_format.FORMAT_VERSION == 2
    pairs = (
        ("jawOpen", "mouthSmile"), ("eyeBlink{}", "eyeSquint"), ("eyeBlink{}", "cheekSquint"),
        ("eyeBlink{}", "mouthSmile"), ("eyeBlink{}", "eyeLookDown"),
        ("eyeBlink{}", "eyeLookUp"),
    )  # fmt: skip
    pairs += tuple(
        (f"eyeLook{way}{{}}", f"eyeLook{aside}") for way in ("Up", "Down") for aside in ("In", "Out")
    )
    sides = ("Left", "Right")
    correctives = [f"{one.format(side)}__{other}{side}" for one, other in pairs for side in sides]
    assert list(CORRECTIVE_NAMES) == correctives
    own = {"photo": "uint8", "landmarks": "float32", "scores": "float32", "camera": "float64"}
    own |= {"observed": "uint8"}
    network = {f"network/{name}": "float32" for name in ("points", "deviation", "loadings")}
    view = {f"view/{name}": kind for name, kind in own.items()}
    found = {name: str(array.dtype) for name, array in to_arrays(photo()).items()}
    assert found == own | network | view
    # A head's are those that were written before there was a version, its number of shapes, and joints.
    header = (UNVERSIONED / "geometry.safetensors").read_bytes()[8:]
    named = json.JSONDecoder().raw_decode(header.decode("latin-1"))[0]
    arrays = to_arrays(head())
    front = {name for name in arrays if name.startswith("front/")}
    rig = {name for name in arrays if name.startswith("head/joint/")}
    parts = {name.rsplit("/", 1)[0] for name in named if name.startswith("head/part/")}
    new = {"head/shapes", *(f"{part}/joint_weights" for part in parts)}
    assert set(arrays) - front - rig == (set(named) | new) - {"__metadata__"}
    joint = {name for name in rig if name.startswith("head/joint/03/")}
    assert joint == {f"head/joint/03/jaw/head/{name}" for name in ("position", "limits", "turn/jawOpen")}
    assert front == {
        *("front/positions", "front/triangles", "front/uvs", "front/placement", "front/coefficients"),
        *("front/deformation", "front/displacement", "front/albedo", "front/vertices", "front/neutral"),
    }
