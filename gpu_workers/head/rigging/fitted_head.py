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
from gpu_workers.head.rigging.expression_shares import expression_shares
from gpu_workers.head.rigging.head_assembly import HeadAssembly, HeadTensors
from gpu_workers.head.rigging.skeleton import Skeleton
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.runtime.graphed_function import GraphedFunction
from gpu_workers.head.runtime.host_transfer import to_host

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SecondView:
    """What a second photo of the person brought."""

    #: Keypoint matches between both photos.
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
    #: Left and right, 0..1: how far the photo's smile is left out of the base shape.
    smile: tuple[float, float]
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
        runtime: of the shapes' device; without one, nothing is captured.
    """

    def __init__(self, shapes: PersonalShapes, runtime: DeviceRuntime | None = None) -> None:
        self.shapes = shapes
        self.runtime = runtime or DeviceRuntime(shapes.device)
        self.skeleton = Skeleton(shapes.data)
        # One graph serves every photo, whatever its options and views.
        self._assemble = GraphedFunction(HeadAssembly(shapes).assemble, self.runtime.heads)

    @property
    def data(self) -> HeadData:
        """The heads' topology."""
        return self.shapes.data

    def make(self, fitted: FittedPhoto, *, expression_in_base: bool) -> AssembledHead:
        """Return the head of a fitted photo."""
        packed = fitted.pack(expression_in_base=expression_in_base)
        with self.runtime.beside("heads"), self.runtime.heads.use():
            found = self._assemble(packed)
            numbers = to_host(found.numbers)
        scale, from_iris, error_basis, error, error_detected, *translation = numbers.tolist()
        camera = Camera(
            focal=(fitted.focal, fitted.focal),
            centre=fitted.centre,
            rotation=fitted.rotation.astype(np.float32),
            translation=np.array(translation, np.float32),
            width=fitted.width,
            height=fitted.height,
        )
        expression = fitted.coefficients[-len(ARKIT_NAMES) :].astype(np.float32) * expression_shares()
        return AssembledHead(
            posed=found.posed,
            camera=camera,
            smile=measure_smile(expression, expression_in_base),
            scale_from="iris" if from_iris else "template",
            scale=scale,
            error_basis=error_basis,
            error=error,
            error_detected=error_detected,
            _later=_Later(lambda: self._take_head(found, scale, camera, expression, expression_in_base)),
        )

    def _take_head(
        self,
        found: HeadTensors,
        scale: float,
        camera: Camera,
        expression: NDArray[np.float32],
        in_base: bool,
    ) -> Head:
        """Return the head on the host."""
        data = self.data
        # The device has finished them.
        with self.runtime.beside("head"):
            tensors = to_host([found.positions, found.morphs])
        positions, morphs = (tensor.numpy() for tensor in tensors)
        ends = np.cumsum([3 * len(data.shapes) * part.count for part in data.parts])
        shapes = np.split(morphs, ends[:-1])
        parts = tuple(
            MeshPart(
                name=part.name,
                material=part.material,
                positions=positions[part.vertices],
                quads=part.quads,
                uvs=part.uvs,
                uv_quads=part.uv_quads,
                morph_deltas=moves.reshape(len(data.shapes), part.count, 3),
                joint_weights=data.joint_weights[part.vertices],
                coarse=part.coarse,
            )
            for part, moves in zip(data.parts, shapes, strict=True)
        )
        return Head(
            parts=parts,
            joints=self.skeleton.place(positions, scale),
            camera=camera,
            expression=expression,
            expression_in_base=in_base,
        )
