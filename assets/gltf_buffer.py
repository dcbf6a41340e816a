"""The binary part of a glTF file as it grows (glTF 2.0, sections 3.6 and 4.4)."""

import json
import struct
from typing import Any

import numpy as np

from assets.morphs import SparseVectors
from face3d.head import FloatArray
from face3d.messages import Array

_COMPONENTS = {np.dtype(np.uint8): 5121, np.dtype(np.uint16): 5123, np.dtype(np.uint32): 5125}
_FLOAT = 5126
_VERTICES, _INDICES = 34962, 34963


class Buffer:
    """The binary chunk, with the views and accessors that describe it."""

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.length = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        #: The accessor of zeros for a number of vertices, with or without bounds.
        self._zeros: dict[tuple[int, bool], int] = {}
        #: Component type to the views of one index and of its zeros.
        self._still_views: dict[int, tuple[int, int]] = {}

    def add_view(self, data: bytes | Array, target: int | None = None) -> int:
        """Add bytes, and return their view."""
        piece = (memoryview(data) if isinstance(data, bytes) else data.data).cast("B")
        view = {"buffer": 0, "byteOffset": self.length, "byteLength": len(piece)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        padding = -len(piece) % 4
        self.pieces += [piece, bytes(padding)] if padding else [piece]
        self.length += len(piece) + padding
        return len(self.views) - 1

    def add_dense(self, values: FloatArray, *, bounds: bool = False) -> int:
        """Add an accessor of a vector (N, 2 to 4) a vertex."""
        values = np.ascontiguousarray(values, np.float32)
        accessor: dict[str, Any] = {
            "bufferView": self.add_view(values, _VERTICES),
            "componentType": _FLOAT,
            "count": len(values),
            "type": f"VEC{values.shape[1]}",
        }
        return self._add(accessor, values if bounds else None)

    def add_whole(self, values: Array, *, normalized: bool = False) -> int:
        """Add an accessor of whole numbers (N, 4); normalised: they are shares of their type's largest."""
        accessor: dict[str, Any] = {
            "bufferView": self.add_view(np.ascontiguousarray(values), _VERTICES),
            "componentType": _COMPONENTS[values.dtype],
            "count": len(values),
            "type": "VEC4",
        }
        if normalized:
            accessor["normalized"] = True
        return self._add(accessor, None)

    def add_matrices(self, matrices: FloatArray) -> int:
        """Add an accessor of matrices (N, 16), each column by column."""
        accessor: dict[str, Any] = {
            "bufferView": self.add_view(np.ascontiguousarray(matrices, np.float32)),
            "componentType": _FLOAT,
            "count": len(matrices),
            "type": "MAT4",
        }
        return self._add(accessor, None)

    def add_sparse(self, vectors: SparseVectors, count: int, *, bounds: bool) -> int:
        """Add an accessor of `count` split vertices that is zero but for some vertices' vectors."""
        accessor: dict[str, Any] = {"componentType": _FLOAT, "count": count, "type": "VEC3"}
        kept = len(vectors.vertices)
        index_type = _index_type(count)
        if not kept:
            key = (count, bounds)
            if key not in self._zeros:
                accessor["sparse"] = self._still(index_type)
                self._zeros[key] = self._add(accessor, np.zeros((1, 3), np.float32) if bounds else None)
            return self._zeros[key]
        accessor["sparse"] = _describe_sparse(
            kept,
            self.add_view(vectors.vertices.astype(index_type)),
            _COMPONENTS[np.dtype(index_type)],
            self.add_view(vectors.vectors),
        )
        if vectors.bounds is None:
            return self._add(accessor, None)
        still = np.zeros((int(kept < count), 3), np.float32)
        return self._add(accessor, np.concatenate([vectors.bounds, still]))

    def _still(self, index_type: type[np.uint16] | type[np.uint32]) -> dict[str, Any]:
        """Return the sparse part of an accessor of zeros: the first vertex's zero, shared by all of them.

        The specification needs none, but assimp (also inside Open3D) refuses a file with an accessor that
        has neither a buffer view nor a sparse part.
        """
        component = _COMPONENTS[np.dtype(index_type)]
        if component not in self._still_views:
            self._still_views[component] = (
                self.add_view(np.zeros(1, index_type)), self.add_view(np.zeros(3, np.float32)),
            )  # fmt: skip
        first, zero = self._still_views[component]
        return _describe_sparse(1, first, component, zero)

    def add_indices(self, triangles: Array, vertices: int) -> int:
        """Add the corners of triangles (M, 3) of a number of vertices."""
        index_type = _index_type(vertices)
        accessor = {
            "bufferView": self.add_view(triangles.astype(index_type), _INDICES),
            "componentType": _COMPONENTS[np.dtype(index_type)],
            "count": triangles.size,
            "type": "SCALAR",
        }
        return self._add(accessor, None)

    def _add(self, accessor: dict[str, Any], bounded: FloatArray | None) -> int:
        if bounded is not None:
            accessor["min"] = [float(x) for x in bounded.min(axis=0)]
            accessor["max"] = [float(x) for x in bounded.max(axis=0)]
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def pack(self, document: dict[str, Any]) -> bytes:
        """Return the binary container: header, JSON chunk, binary chunk."""
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self.length
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, total),
                struct.pack("<I4s", len(text), b"JSON"),
                text,
                struct.pack("<I4s", self.length, b"BIN\0"),
                *self.pieces,
            ]
        )


def _describe_sparse(count: int, indices: int, component: int, values: int) -> dict[str, Any]:
    """Return the sparse part of an accessor; VTK and f3d refuse one whose `byteOffset` is left out."""
    return {
        "count": count,
        "indices": {"bufferView": indices, "byteOffset": 0, "componentType": component},
        "values": {"bufferView": values, "byteOffset": 0},
    }


def _index_type(vertices: int) -> type[np.uint16] | type[np.uint32]:
    # 65535 itself restarts primitives, so it must not be an index.
    return np.uint16 if vertices <= 65535 else np.uint32
