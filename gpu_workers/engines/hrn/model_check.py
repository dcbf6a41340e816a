"""Is a model directory what engine `hrn` needs? Which files are there; keys and shapes of arrays and weights.

Of PLAIN_FILES only the presence is examined, and a digest that differs is a remark: others published it with
their files. No finding makes the TorchScript archives safe, which are programs that the engine runs.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gpu_workers.engines.hrn import networks
from gpu_workers.engines.hrn.environment import borrowed_modules
from gpu_workers.engines.hrn.files import (
    CHECKPOINT,
    DATA_FILES,
    FACE_DETECTOR,
    KNOWN_DIGESTS,
    LANDMARKS,
    MASK_GRAPH,
    MASK_NETWORK,
    MODEL_REVISION,
    PLAIN_FILES,
    PROGRAMS,
    RESHAPED,
    RETOUCHING,
    SIZED_FILES,
    SQUARE_DETECTOR,
    DataFile,
)

_FETCH = f"fetch it anew: face3d models fetch hrn (revision {MODEL_REVISION})"
#: Of many keys that differ, this number is named.
_NAMED = 3

Shapes = dict[str, tuple[int, ...]]
#: From what a file holds to (label, weights, what they should be), part by part.
_Reader = Callable[[Any], Iterator[tuple[str, Mapping[str, Any], nn.Module | Shapes]]]


@dataclass(frozen=True)
class Finding:
    """What was found about a file that is not as expected."""

    file: str
    problem: str
    remedy: str
    #: The engine refuses the file; otherwise it is worth knowing.
    wrong: bool = True

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def check_model_folder(folder: Path) -> list[Finding]:
    """Return what is missing or different in a model directory; needs the libraries of the environment."""
    findings = list(_check_presence(folder))
    missing = {finding.file for finding in findings}
    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        *((data.name, partial(_check_arrays, folder, data)) for data in DATA_FILES),
        *((name, partial(_check_size, folder, name, size)) for name, size in SIZED_FILES.items()),
        *((name, partial(_check_weights, folder / name, name, read)) for name, read in _CHECKPOINTS.items()),
    ]
    for name, check in checks:
        if name not in missing:
            findings += _guarded(name, check)
    for name, digest in KNOWN_DIGESTS.items():
        if name not in missing and not _digest(folder / name).startswith(digest):
            problem = f"its SHA-256 does not begin with {digest}, as that of the published file does"
            remedy = "make sure that you know where it comes from"
            if name in PROGRAMS:
                problem += "; it is a TorchScript program, and the engine runs it"
                remedy += " and trust it"
            findings.append(Finding(name, problem, remedy, wrong=False))
    return findings


def _check_presence(folder: Path) -> Iterator[Finding]:
    names = [*PLAIN_FILES, *(data.name for data in DATA_FILES), *SIZED_FILES, *_CHECKPOINTS]
    for name in names:
        if not (folder / name).is_file():
            yield Finding(name, "is missing", _FETCH)
    if not (folder / MASK_NETWORK).is_file():
        if (folder / MASK_GRAPH).is_file():
            problem = f"is missing; {MASK_GRAPH} is there, which only TensorFlow reads"
            yield Finding(MASK_NETWORK, problem, "face3d models convert hrn", wrong=False)
        else:
            yield Finding(MASK_GRAPH, "is missing", _FETCH)


def _guarded(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run a check; a file that cannot be read is a finding, whatever its reader raises."""
    try:
        return list(check())
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return [Finding(name, f"cannot be read: {first[:200]}", _FETCH)]


def _check_arrays(folder: Path, data: DataFile) -> Iterator[Finding]:
    found = _read_shapes(folder / data.name)
    for name, wanted in data.shapes.items():
        label = f"array {name}" if name else "its array"
        if name not in found:
            yield Finding(data.name, f"{label} is missing", _FETCH)
        elif found[name] != wanted and not (name in RESHAPED and sorted(found[name]) == sorted(wanted)):
            yield Finding(data.name, f"{label} has shape {found[name]} in place of {wanted}", _FETCH)


def _check_size(folder: Path, name: str, size: int) -> Iterator[Finding]:
    found = int(np.prod(_read_shapes(folder / name)[""]))
    if found != size:
        yield Finding(name, f"holds {found} numbers in place of {size}", _FETCH)


def _read_shapes(path: Path) -> Shapes:
    if path.suffix == ".npy":
        return {"": np.load(path, mmap_mode="r").shape}
    from scipy.io import whosmat

    return {name: shape for name, shape, _ in whosmat(str(path))}


def _check_weights(path: Path, name: str, read: _Reader) -> list[Finding]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    with borrowed_modules(), torch.device("meta"):
        parts = list(read(state))
    return [finding for label, found, wanted in parts for finding in _compare(name, label, found, wanted)]


def _compare(
    file: str, label: str, found: Mapping[str, Any], wanted: nn.Module | Shapes
) -> Iterator[Finding]:
    expected = wanted if isinstance(wanted, dict) else _shapes_of(wanted)
    missing = [key for key in expected if key not in found and not key.endswith("num_batches_tracked")]
    if missing:
        yield Finding(file, f"{label} lacks {_some(missing)}", _FETCH)
    different = [
        f"{key} {tuple(found[key].shape)} in place of {shape}"
        for key, shape in expected.items()
        if key in found and tuple(found[key].shape) != shape
    ]
    if different:
        yield Finding(file, f"{label} has other shapes: {_some(different)}", _FETCH)
    surplus = [key for key in found if key not in expected]
    if surplus:
        yield Finding(file, f"{label} holds besides {_some(surplus)}", "nothing: it is not used", wrong=False)


def _shapes_of(network: nn.Module) -> Shapes:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _read_checkpoint(state: Any) -> Iterator[tuple[str, Mapping[str, Any], nn.Module | Shapes]]:
    yield "net_recon", state["net_recon"], networks.coefficient_network()
    yield "mid_net", state["mid_net"], networks.detail_network(6, 3)
    yield "high_net", state["high_net"], networks.detail_network(9, 1)
    scalars = {key: state[key] for key in ("alpha", "beta") if key in state}
    yield "the file", scalars, {"alpha": (1,), "beta": (1,)}


def _read_retouching(state: Any) -> Iterator[tuple[str, Mapping[str, Any], nn.Module | Shapes]]:
    yield "generator", state["generator"], networks.retouching_network()


def _read_landmarks(state: Any) -> Iterator[tuple[str, Mapping[str, Any], nn.Module | Shapes]]:
    found = {key.replace("module.", ""): value for key, value in state["state_dict"].items()}
    yield "state_dict", found, networks.landmark_network()


def _read_face_detector(state: Any) -> Iterator[tuple[str, Mapping[str, Any], nn.Module | Shapes]]:
    yield "the file", state, networks.face_detector()


def _read_square_detector(state: Any) -> Iterator[tuple[str, Mapping[str, Any], nn.Module | Shapes]]:
    yield "the file", state, networks.square_detector()


_CHECKPOINTS: dict[str, _Reader] = {
    CHECKPOINT: _read_checkpoint,
    RETOUCHING: _read_retouching,
    LANDMARKS: _read_landmarks,
    FACE_DETECTOR: _read_face_detector,
    SQUARE_DETECTOR: _read_square_detector,
}


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
