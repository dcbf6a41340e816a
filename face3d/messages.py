"""Values that travel between packages: the storage event and the engine-neutral stage result."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ObjectCreated:
    """An object appeared in a bucket; etag, size and metadata are asked later by HEAD."""

    bucket: str
    #: Decoded: what a client passes to GetObject.
    key: str
    #: Orders events of one key where the storage gives one; never compared across keys.
    sequencer: str | None = None


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What an engine's stage hands to the next one.

    Everything a later stage needs is in here, so that stages may run on different machines.
    """

    #: Name to array; names are the engine's own but for those that face3d/head.py fixes.
    tensors: Mapping[str, Array] = field(default_factory=dict)
    #: JSON-able facts: measurements, scores, versions.
    facts: Mapping[str, Any] = field(default_factory=dict)


def dump_result(result: StageResult) -> bytes:
    """Return a stage result as safetensors bytes; the facts ride in the header."""
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(array) for name, array in result.tensors.items()}
    return save(tensors, metadata={"facts": json.dumps(dict(result.facts), sort_keys=True)})


def load_result(data: bytes) -> StageResult:
    """Return the stage result that `dump_result` wrote.

    Raises:
        ValueError: the bytes are not such a file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        header_size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + header_size])
        return StageResult(tensors=tensors, facts=json.loads(header["__metadata__"]["facts"]))
    except (SafetensorError, KeyError) as error:
        raise ValueError("not a stage result") from error
