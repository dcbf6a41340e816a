"""What many parts of the product need is written in one place."""

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.unit.project.test_layout import PACKAGES, ROOT

#: sRGB's own numbers (IEC 61966-2-1).
SRGB_NUMBERS = {0.04045, 0.0031308, 1.055, 12.92}
#: MediaPipe's landmarks of the outer eye corners.
OUTER_EYE_CORNERS = {33, 263}
#: A table of landmarks is longer than a pair of pairs.
LONGEST_PAIR = 4


@cache
def _nodes() -> tuple[tuple[str, ast.AST], ...]:
    return tuple(
        (str(path.relative_to(ROOT)), node)
        for package in sorted(PACKAGES)
        for path in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
    )


def _files(wanted: Callable[[ast.AST], bool]) -> set[str]:
    return {file for file, node in _nodes() if wanted(node)}


def _numbers(node: ast.AST) -> set[object]:
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}


def _calls(node: ast.AST) -> set[str]:
    names = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
    return {name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "") for name in names}


def test_one_srgb_curve() -> None:
    found = _files(lambda node: isinstance(node, ast.Constant) and node.value in SRGB_NUMBERS)
    assert found == {"face3d/srgb.py"}


def test_one_eye_distance() -> None:
    def pair(node: ast.AST) -> bool:
        if isinstance(node, ast.Subscript):
            return bool(OUTER_EYE_CORNERS & _numbers(node.slice))
        if isinstance(node, ast.Tuple | ast.List):
            return _numbers(node) >= OUTER_EYE_CORNERS and len(_numbers(node)) <= LONGEST_PAIR
        return False

    assert _files(pair) == {"gpu_workers/head/model/mediapipe_landmarks.py"}


def test_vertex_normals_are_computed_once_in_numpy_and_once_in_torch() -> None:
    """A writer of files works without torch, and on quads."""

    def sums_faces(node: ast.AST) -> bool:
        # Areas of faces gathered by their corners.
        return isinstance(node, ast.FunctionDef) and "cross" in _calls(node) and "index_add_" in _calls(node)

    def named(node: ast.AST) -> bool:
        return isinstance(node, ast.FunctionDef) and node.name.lstrip("_").endswith("normals")

    assert _files(sums_faces) == {"gpu_workers/head/ops/mesh.py"}
    assert _files(named) == {
        *("assets/mesh.py", "gpu_workers/head/ops/mesh.py"),
        # A map's bytes; the faces of a mesh of quads.
        *("assets/maps.py", "gpu_workers/head_authoring/quad_simplification.py"),
    }


def test_one_rasteriser_and_its_reference() -> None:
    named = _files(lambda node: isinstance(node, ast.FunctionDef) and node.name == "rasterise")
    assert named == {"gpu_workers/head/ops/rasterization.py", "assets/preview/raster.py"}
    # Whoever draws triangles keeps the nearest of a pixel.
    keeps = _files(lambda node: isinstance(node, ast.Attribute) and node.attr == "scatter_reduce_")
    assert keeps == {"gpu_workers/head/ops/rasterization.py"}


def test_the_project_is_searched() -> None:
    assert len({file for file, _ in _nodes()}) > 300
    assert Path(__file__).is_relative_to(ROOT)
