"""How stage results travel between machines: the names of their arrays, the version, the bytes.

`PreprocessedPhoto` and `FittedHead` travel as one safetensors file each, the facts in its header; of
`BakedMaps` the encoded files travel and, as JSON, the facts. Both state FORMAT_VERSION. Whatever states
another one, or none, is not read: the stage that wrote it runs again (`db/recovery.py`). Any change of what
is written here, of a result's fields, or of what they mean, takes a new FORMAT_VERSION.

An array's name is the path of fields to it, but for `_NAMES`; a head has names of its own.
"""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from face3d.errors import ArtifactUnreadable
from face3d.head import Camera, CoarseLevel, FloatArray, Head, Joint, MeshPart
from face3d.messages import Array
from face3d.observed import EyeState, Observed
from face3d.stage_results import Facts, FittedHead, PreprocessedPhoto

#: Of what is written. Before it was stated, workers wrote what counts as 0.
FORMAT_VERSION = 2

#: The header of a safetensors file begins after its length, of N bytes.
_LENGTH_BYTES = 8
_VERSION, _FACTS = "format", "facts"
#: Field to the part of a path that stands for it; none for a dataclass whose fields stand beside its owner's.
_NAMES = {"native_face": "front/", "fit": "", "crops": "hrn/crops/"}
_EYE_STATES = (EyeState.OPEN, EyeState.SHUT, EyeState.HIDDEN)
_PART_ARRAYS = ("positions", "quads", "uvs", "uv_quads", "joint_weights")
_COARSE_ARRAYS = ("vertices", "uvs", "quads", "uv_quads")

Result = TypeVar("Result", bound=PreprocessedPhoto | FittedHead)


def dump_result(result: PreprocessedPhoto | FittedHead) -> bytes:
    """Return a stage result as safetensors bytes; the facts ride in the header."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in to_arrays(result).items()}
    facts = json.dumps(dict(result.facts), sort_keys=True)
    return save(arrays, metadata={_VERSION: str(FORMAT_VERSION), _FACTS: facts})


def load_result(kind: type[Result], data: bytes) -> Result:
    """Return the stage result that `dump_result` wrote.

    Args:
        kind: its class, or a base of it: what only the derived class holds is left out then.
    Raises:
        ArtifactUnreadable: of another version, damaged, or of another kind.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        header = json.loads(data[_LENGTH_BYTES:][: int.from_bytes(data[:_LENGTH_BYTES], "little")])
        stated = header["__metadata__"]
        _check_version(stated.get(_VERSION, 0))
        return from_arrays(kind, load(data), json.loads(stated[_FACTS]))
    except (SafetensorError, LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ArtifactUnreadable("The artifact is damaged.") from error


def dump_facts(facts: Facts) -> bytes:
    """Return facts as JSON, as they lie beside a stage's files."""
    return json.dumps({_VERSION: FORMAT_VERSION, _FACTS: dict(facts)}, sort_keys=True).encode()


def load_facts(data: bytes) -> dict[str, Any]:
    """Return the facts that `dump_facts` wrote.

    Raises:
        ArtifactUnreadable: of another version, or damaged.
    """
    try:
        stated = json.loads(data)
        _check_version(stated.get(_VERSION, 0))
        return dict(stated[_FACTS])
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactUnreadable("The artifact is damaged.") from error


def _check_version(stated: object) -> None:
    if str(stated) != str(FORMAT_VERSION):
        raise ArtifactUnreadable(
            f"The artifact has format {stated!s:.20}, this worker reads {FORMAT_VERSION}."
        )


def to_arrays(result: PreprocessedPhoto | FittedHead) -> dict[str, Array]:
    """Return name to array of all that a result holds but for its facts."""
    arrays: dict[str, Array] = {}
    _collect(result, "", arrays)
    return arrays


def from_arrays(kind: type[Result], arrays: Mapping[str, Array], facts: Facts) -> Result:
    """Return the result that `to_arrays` took apart.

    Raises:
        KeyError: an array is missing.
    """
    found: Result = _build(kind, "", arrays, {"facts": facts})
    return found


def _collect(holder: Any, prefix: str, arrays: dict[str, Array]) -> None:
    kind: Any = type(holder)
    for name, _ in _fields(kind):
        value = getattr(holder, name)
        if isinstance(value, Head):
            arrays |= _head_to_arrays(value)
        elif isinstance(value, Observed):
            arrays[prefix + name] = _pack_observed(value)
        elif is_dataclass(value):
            _collect(value, prefix + _NAMES.get(name, f"{name}/"), arrays)
        elif value is not None:
            arrays[prefix + name] = value


def _build(kind: Any, prefix: str, arrays: Mapping[str, Array], values: dict[str, Any]) -> Any:
    for name, field_kind in _fields(kind):
        label = prefix + _NAMES.get(name, f"{name}/")
        if field_kind is Head:
            values[name] = _head_from_arrays(arrays)
        elif field_kind is Observed:
            values[name] = _unpack_observed(arrays[prefix + name])
        elif not is_dataclass(field_kind):
            values[name] = arrays[prefix + name]
        elif any(one.startswith(label) for one in arrays):
            values[name] = _build(field_kind, label, arrays, {})
    return kind(**values)


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    """Return the name of each field but `facts`, and its class without `None`."""
    hints = get_type_hints(kind)
    return tuple((one.name, _without_none(hints[one.name])) for one in fields(kind) if one.name != "facts")


def _without_none(hint: Any) -> Any:
    if get_origin(hint) is UnionType:
        (hint,) = (choice for choice in get_args(hint) if choice is not type(None))
    return hint


def _pack_observed(observed: Observed) -> Array:
    """Return (5,) uint8: the eyes' states, mouth, tongue, colours."""
    eyes = (_EYE_STATES.index(state) for state in observed.eyes)
    return np.array([*eyes, observed.mouth, observed.tongue, observed.colours], np.uint8)


def _unpack_observed(numbers: Array) -> Observed:
    right, left, mouth, tongue, colours = (int(number) for number in numbers)
    return Observed(
        eyes=(_EYE_STATES[right], _EYE_STATES[left]),
        mouth=bool(mouth),
        tongue=bool(tongue),
        colours=bool(colours),
    )


def _head_to_arrays(head: Head) -> dict[str, Array]:
    """Return the arrays of a head.

    Of the shapes only what moves is kept, row (shape x vertices + vertex) and vector: a third of the whole.
    """
    arrays: dict[str, Array] = {
        "head/expression": head.expression,
        "head/expression_in_base": np.array([head.expression_in_base], np.uint8),
        "head/camera/intrinsics": np.array(
            [*head.camera.focal, *head.camera.centre, head.camera.width, head.camera.height], np.float64
        ),
        "head/camera/rotation": head.camera.rotation,
        "head/camera/translation": head.camera.translation,
        "head/shapes": np.array([len(head.parts[0].morph_deltas)], np.int32),
    }
    for index, joint in enumerate(head.joints):
        label = f"head/joint/{index:02d}/{joint.name}/{joint.parent or ''}"
        arrays[f"{label}/position"] = joint.position
        arrays[f"{label}/limits"] = np.array(joint.limits, np.float64)
        for shape, turn in joint.turns.items():
            arrays[f"{label}/turn/{shape}"] = np.array(turn, np.float64)
    for index, part in enumerate(head.parts):
        label = f"head/part/{index:02d}/{part.name}/{part.material}"
        for name in _PART_ARRAYS:
            arrays[f"{label}/{name}"] = getattr(part, name)
        if part.coarse is not None:
            for name in _COARSE_ARRAYS:
                arrays[f"{label}/coarse_{name}"] = getattr(part.coarse, name)
        moves = part.morph_deltas.reshape(-1, 3)
        # `any` along an axis of three takes seven times as long.
        x, y, z = (moves != 0).T
        rows = np.flatnonzero(x | y | z).astype(np.int32)
        arrays[f"{label}/morph_rows"], arrays[f"{label}/morph_moves"] = rows, moves.take(rows, axis=0)
    return arrays


def _head_from_arrays(arrays: Mapping[str, Array]) -> Head:
    parts = sorted({name.rsplit("/", 1)[0] for name in arrays if name.startswith("head/part/")})
    joints = sorted(name.removesuffix("/position") for name in arrays if _is_joint(name))
    (shapes,) = (int(count) for count in arrays["head/shapes"])
    fx, fy, cx, cy, width, height = (float(x) for x in arrays["head/camera/intrinsics"])
    camera = Camera(
        focal=(fx, fy),
        centre=(cx, cy),
        rotation=arrays["head/camera/rotation"],
        translation=arrays["head/camera/translation"],
        width=int(width),
        height=int(height),
    )
    return Head(
        parts=tuple(_part_from_arrays(label, arrays, shapes) for label in parts),
        joints=tuple(_joint_from_arrays(label, arrays) for label in joints),
        camera=camera,
        expression=arrays["head/expression"],
        expression_in_base=bool(arrays["head/expression_in_base"][0]),
    )


def _is_joint(name: str) -> bool:
    return name.startswith("head/joint/") and name.endswith("/position")


def _joint_from_arrays(label: str, arrays: Mapping[str, Array]) -> Joint:
    *_, name, parent = label.split("/")
    x, y, z = ((float(low), float(high)) for low, high in arrays[f"{label}/limits"])
    first = f"{label}/turn/"
    turns = {
        one.removeprefix(first): (float(turn[0]), float(turn[1]), float(turn[2]))
        for one, turn in arrays.items()
        if one.startswith(first)
    }
    return Joint(
        name=name,
        parent=parent or None,
        position=arrays[f"{label}/position"],
        limits=(x, y, z),
        turns={one: turns[one] for one in sorted(turns)},
    )


def _part_from_arrays(label: str, arrays: Mapping[str, Array], shapes: int) -> MeshPart:
    *_, name, material = label.split("/")
    rows, moves = arrays[f"{label}/morph_rows"], arrays[f"{label}/morph_moves"]
    coarse = None
    if f"{label}/coarse_quads" in arrays:
        coarse = CoarseLevel(**{one: arrays[f"{label}/coarse_{one}"] for one in _COARSE_ARRAYS})
    return MeshPart(
        name=name,
        material=material,
        **{one: arrays[f"{label}/{one}"] for one in _PART_ARRAYS},
        morph_deltas=_spread_moves(rows, moves, shapes, len(arrays[f"{label}/positions"])),
        coarse=coarse,
    )


def _spread_moves(rows: Array, moves: Array, shapes: int, vertices: int) -> FloatArray:
    """Return (shapes, V, 3) deltas from what `_head_to_arrays` kept; a vertex's lie beside each other."""
    shape, vertex = np.divmod(rows, vertices)
    deltas = np.zeros((vertices * shapes, 3), np.float32)
    deltas[vertex * shapes + shape] = moves
    return deltas.reshape(vertices, shapes, 3).transpose(1, 0, 2)
