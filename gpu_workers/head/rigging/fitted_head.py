"""Heads of fitted photos: assembled on the device, on CUDA as a graph; handed to the host when asked for."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import ARKIT_NAMES, Camera, Head, MeshPart
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.posed_head import measure_smile
from gpu_workers.head.rigging.blendshape_transfer import PersonalShapes
from gpu_workers.head.rigging.head_assembly import HeadAssembly, HeadTensors
from gpu_workers.head.runtime.cuda_graphs import HEADS, CapturedCall, beside

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SecondView:
    """What a second photo of the person brought."""

    #: Spots of skin found in both photos.
    matches: int
    #: Angle between the head's poses in both.
    turn_degrees: float


@dataclass(frozen=True, kw_only=True)
class FittedPhoto:
    """One photo's fit as plain arrays."""

    #: (30 + K + 52,)
    coefficients: FloatArray
    #: (3, 3) and (3,) metres: from the head's frame to the camera's.
    rotation: FloatArray
    translation: FloatArray
    #: (478, 3) metres, the fitted landmarks with expression.
    points: FloatArray
    #: (478, 3) pixels, where the landmarks are: detected, less the detector's bias; and as detected.
    landmarks: FloatArray
    detected: FloatArray
    #: Pixels.
    focal: float
    centre: tuple[float, float]
    width: int
    height: int
    #: None without a second photo.
    second_view: SecondView | None = None
    #: Whether the person's right and left iris were seen; see observed_face.py.
    irises: tuple[bool, bool] = (True, True)

    def pack(self, *, expression_in_base: bool) -> Tensor:
        """Return what `HeadAssembly.assemble` takes: (1, T) float64 on the CPU."""
        poses = (self.coefficients, self.rotation, self.translation)
        points = (self.points, self.landmarks, self.detected)
        numbers = [self.focal, *self.centre, float(expression_in_base), *map(float, self.irises)]
        packed = np.concatenate([np.ravel(array) for array in (*poses, *points, numbers)])
        return torch.from_numpy(packed.astype(np.float64))[None]


class _Later:
    """A head that the first thread makes that asks for it."""

    def __init__(self, make: Callable[[], Head]) -> None:
        self._state: Head | Callable[[], Head] = make
        self._lock = threading.Lock()

    def get(self) -> Head:
        with self._lock:
            if not isinstance(self._state, Head):
                # What it is made from is then let go.
                self._state = self._state()
            return self._state


@dataclass(frozen=True, kw_only=True)
class AssembledHead:
    """A head and what was measured on the way."""

    #: (V', 3) float32 metres on the device that assembled it: `posed_head.stack_vertices` of the head.
    posed: Tensor
    camera: Camera
    #: 0..1: how far the photo's smile is left out of the base shape.
    smile: float
    #: `iris` or `template`.
    scale_from: str
    #: Metres of the head to metres of the template.
    scale: float
    #: Mean distance of the 468 skin landmarks to the detected ones, share of the eye distance: basis, then
    #: final.
    error_basis: float
    error: float
    #: The final one to the landmarks as they were detected.
    error_detected: float
    _later: _Later = field(repr=False)

    @property
    def head(self) -> Head:
        """The head with its shapes, copied to the host when first asked for; from any thread."""
        return self._later.get()

    def with_head(self, head: Head, posed: Tensor, error: float, error_detected: float) -> "AssembledHead":
        """Return the same with another head of this photo."""
        return replace(
            self,
            posed=posed,
            camera=head.camera,
            smile=measure_smile(head.expression, head.expression_in_base),
            error=error,
            error_detected=error_detected,
            _later=_Later(lambda: head),
        )


class HeadMaker:
    """Makes the heads of fitted photos; safe to call from several threads.

    Args:
        graphs: on CUDA, replay the assembly as one graph.
    """

    def __init__(self, shapes: PersonalShapes, *, graphs: bool = False) -> None:
        self.shapes = shapes
        self._assembly = HeadAssembly(shapes)
        self._graph = _AssemblyGraph(self._assembly) if graphs else None

    @property
    def data(self) -> HeadData:
        """The heads' topology."""
        return self.shapes.data

    def make(self, fitted: FittedPhoto, *, expression_in_base: bool) -> AssembledHead:
        """Return the head of a fitted photo."""
        packed = fitted.pack(expression_in_base=expression_in_base)
        if self._graph is not None:
            found, numbers = self._graph.assemble(packed)
        else:
            found = self._assembly.assemble(packed.to(self.shapes.device))
            numbers = found.numbers.cpu()
        scale, from_iris, error_basis, error, error_detected, *translation = numbers.tolist()
        camera = Camera(
            focal=(fitted.focal, fitted.focal),
            centre=fitted.centre,
            rotation=fitted.rotation.astype(np.float32),
            translation=np.array(translation, np.float32),
            width=fitted.width,
            height=fitted.height,
        )
        expression = fitted.coefficients[-len(ARKIT_NAMES) :].astype(np.float32)
        return AssembledHead(
            posed=found.posed,
            camera=camera,
            smile=measure_smile(expression, expression_in_base),
            scale_from="iris" if from_iris else "template",
            scale=scale,
            error_basis=error_basis,
            error=error,
            error_detected=error_detected,
            _later=_Later(lambda: _take_head(self.data, found, camera, expression, expression_in_base)),
        )


class _AssemblyGraph:
    """The assembly captured once: it serves every photo, whatever its options and views."""

    def __init__(self, assembly: HeadAssembly) -> None:
        self._assembly = assembly
        self._device = assembly.shapes.device
        self._input = torch.zeros(1, assembly.layout.total, dtype=torch.float64, device=self._device)
        self._staging = torch.zeros(1, assembly.layout.total, dtype=torch.float64).pin_memory()
        self._numbers: Tensor | None = None
        self._captured: CapturedCall[HeadTensors] | None = None

    def assemble(self, packed: Tensor) -> tuple[HeadTensors, Tensor]:
        """Return the head of a packed fit (1, T), and its numbers on the CPU."""
        with HEADS.lock, beside(self._device, "heads"):
            self._staging.copy_(packed)
            self._input.copy_(self._staging, non_blocking=True)
            if self._captured is None:
                self._captured = CapturedCall(
                    lambda: self._assembly.assemble(self._input), self._device, HEADS
                )
            found = self._captured.replay()
            if self._numbers is None:
                self._numbers = torch.empty_like(found.numbers, device="cpu").pin_memory()
            self._numbers.copy_(found.numbers, non_blocking=True)
            # The next replay writes its results to the same place.
            kept = HeadTensors(*(value.clone() for value in vars(found).values()))
            torch.cuda.current_stream().synchronize()
            return kept, self._numbers.clone()


def _take_head(
    data: HeadData, found: HeadTensors, camera: Camera, expression: NDArray[np.float32], in_base: bool
) -> Head:
    """Return the head on the host."""
    positions, morphs = _to_host([found.positions, found.morphs])
    ends = np.cumsum([3 * len(ARKIT_NAMES) * part.count for part in data.parts])
    shapes = np.split(morphs, ends[:-1])
    parts = tuple(
        MeshPart(
            name=part.name,
            material=part.material,
            positions=positions[part.vertices],
            quads=part.quads,
            uvs=part.uvs,
            uv_quads=part.uv_quads,
            morph_deltas=moves.reshape(len(ARKIT_NAMES), part.count, 3),
            coarse=part.coarse,
        )
        for part, moves in zip(data.parts, shapes, strict=True)
    )
    return Head(parts=parts, camera=camera, expression=expression, expression_in_base=in_base)


def _to_host(tensors: list[Tensor]) -> list[NDArray[np.float32]]:
    """Return tensors, which their device has finished, as arrays, which keep page-locked memory."""
    device = tensors[0].device
    if device.type == "cpu":
        return [tensor.numpy() for tensor in tensors]
    targets = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    with beside(device, "head"):
        for target, tensor in zip(targets, tensors, strict=True):
            target.copy_(tensor, non_blocking=True)
    return [target.numpy() for target in targets]
