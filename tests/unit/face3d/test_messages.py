"""Names and errors that every package shares."""

from face3d.errors import ErrorCode, Face3DError, LeaseLost, RefusedError
from face3d.head import ARKIT_NAMES


def test_arkit_has_52_names() -> None:
    assert len(set(ARKIT_NAMES)) == 52


def test_an_errors_docstring_is_its_message() -> None:
    assert LeaseLost().message.startswith("Another attempt owns this stage")
    assert isinstance(RefusedError(ErrorCode.NO_FACE, "No face."), Face3DError)
