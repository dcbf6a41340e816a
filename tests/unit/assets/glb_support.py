"""A plain reader of binary glTF."""

import json
import struct

import numpy as np


def read_glb(data: bytes) -> tuple[dict, bytes]:
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[20 + length + 8 :]


def read_accessor(document: dict, binary: bytes, index: int) -> np.ndarray:
    accessor = document["accessors"][index]
    types = {5126: np.float32, 5125: np.uint32, 5123: np.uint16, 5121: np.uint8}
    columns = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]

    def view(number: int, kind: type) -> np.ndarray:
        part = document["bufferViews"][number]
        return np.frombuffer(binary, kind, part["byteLength"] // np.dtype(kind).itemsize, part["byteOffset"])

    kind = types[accessor["componentType"]]
    if "bufferView" in accessor:
        values = view(accessor["bufferView"], kind).reshape(-1, columns).copy()
    else:
        values = np.zeros((accessor["count"], columns), kind)
    if "sparse" in accessor:
        indices = accessor["sparse"]["indices"]
        rows = view(indices["bufferView"], types[indices["componentType"]])
        values[rows] = view(accessor["sparse"]["values"]["bufferView"], kind).reshape(-1, columns)
    assert len(values) == accessor["count"]
    if "min" in accessor:
        np.testing.assert_allclose(values.min(0), accessor["min"], atol=0)
        np.testing.assert_allclose(values.max(0), accessor["max"], atol=0)
    return values
