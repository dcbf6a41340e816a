"""Stage results and heads cross between machines as safetensors."""

import numpy as np
import pytest

from face3d.errors import ErrorCode, Face3DError, LeaseLost, RefusedError
from face3d.head import ARKIT_NAMES, head_from_tensors, head_to_tensors
from face3d.messages import StageResult, dump_result, load_result
from gpu_workers.engines.null.head import make_head


def test_arrays_and_facts_survive_the_crossing() -> None:
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.zeros((0, 3), np.int32)}
    result = load_result(dump_result(StageResult(tensors=tensors, facts={"quality": "good", "n": [1, 2]})))
    assert result.facts == {"quality": "good", "n": [1, 2]}
    for name, array in tensors.items():
        np.testing.assert_array_equal(result.tensors[name], array)
        assert result.tensors[name].dtype == array.dtype


@pytest.mark.parametrize("data", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"not safetensors at all"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a stage result"):
        load_result(data)


def test_a_head_survives_the_crossing() -> None:
    head = make_head(expression_in_base=True)
    tensors = load_result(dump_result(StageResult(tensors=head_to_tensors(head)))).tensors
    back = head_from_tensors(tensors)
    assert [part.name for part in back.parts] == [part.name for part in head.parts]
    assert back.expression_in_base
    assert back.camera.width == head.camera.width
    np.testing.assert_array_equal(back.part("skin").morph_deltas, head.part("skin").morph_deltas)
    with pytest.raises(KeyError):
        back.part("hat")


def test_arkit_has_52_names() -> None:
    assert len(set(ARKIT_NAMES)) == 52


def test_an_errors_docstring_is_its_message() -> None:
    assert LeaseLost().message.startswith("Another attempt owns this stage")
    assert isinstance(RefusedError(ErrorCode.NO_FACE, "No face."), Face3DError)
