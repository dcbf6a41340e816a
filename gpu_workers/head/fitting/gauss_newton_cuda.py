"""The fit as a CUDA graph: some thousand small kernels launched as one; gauss_newton.py is the reference."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gpu_workers.head.fitting.gauss_newton import Fit, refine_fit, start_fit
from gpu_workers.head.fitting.linear_model import FitBasis
from gpu_workers.head.fitting.observation import NetworkPoints, Observation
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import LANDMARKS
from gpu_workers.head.ops.linalg import Layout, pack
from gpu_workers.head.ops.rigid_transforms import Pose
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.runtime.graphed_function import GraphedFunction
from gpu_workers.head.runtime.host_transfer import to_host

#: Batches up to N photos are replays of one photo's graph; larger ones a pass of single kernels. It is
#: more than any GPU type's jobs at once; from where on the second way is the faster one was not measured.
_REPLAYED_BATCH = 6


class GraphedFit:
    """`fit_landmarks` on a CUDA device; its start, a small singular value decomposition, on the CPU.

    The graph is that of one photo: what solves several systems at once in torch takes memory while it is
    captured, which CUDA forbids.
    """

    def __init__(self, data: HeadData, basis: FitBasis, runtime: DeviceRuntime) -> None:
        self._host = FitBasis(data, torch.device("cpu"))
        #: The reference, on the device.
        self.basis = basis
        self._runtime = runtime
        self._found = Layout(
            shapes=((3, 3), (3,), (basis.size,), (LANDMARKS, 3), (LANDMARKS,), (LANDMARKS, 3))
        )
        # Of a photo with the network's points and of one without.
        self._refine = GraphedFunction(self._refine_one, runtime.heads)

    def fit(self, seen: Observation) -> Fit:
        """Fit B photos.

        Args:
            seen: float64 tensors on the CPU.
        Returns:
            The fit, on the CPU.
        """
        target, pose = start_fit(self._host, seen)
        if len(target) > _REPLAYED_BATCH:
            device = self.basis.device
            moved = seen.to(device)
            start = Pose(pose.rotation.to(device), pose.translation.to(device))
            return to_host(refine_fit(self.basis, moved, target.to(device), start))
        fits = []
        for row in range(len(target)):
            one = slice(row, row + 1)
            start = Pose(pose.rotation[one], pose.translation[one])
            fits.append(self._fit_one(seen.choose(one), target[one], start))
        return join_fits(fits)

    def _fit_one(self, seen: Observation, target: Tensor, pose: Pose) -> Fit:
        given = [seen.landmarks, seen.focal, seen.centre, target, pose.rotation, pose.translation]
        if seen.network is not None:
            given += [seen.network.points, seen.network.precision, seen.network.loadings]
        with self._runtime.beside("heads"):
            found = self._found.split(self._refine.fetch(*given))
        rotation, translation, coefficients, points, errors, bias = found
        fitted = Pose(rotation, translation)
        return Fit(pose=fitted, coefficients=coefficients, points=points, errors=errors, bias=bias)

    def _refine_one(
        self,
        landmarks: Tensor,
        focal: Tensor,
        centre: Tensor,
        target: Tensor,
        rotation: Tensor,
        translation: Tensor,
        *network: Tensor,
    ) -> Tensor:
        """Return the fit of one photo as one tensor (1, N), as `_found` lays it out."""
        points = (
            NetworkPoints(points=network[0], precision=network[1], loadings=network[2]) if network else None
        )
        # The scores have done their part in the target.
        seen = Observation(
            landmarks=landmarks, scores=target[:, :0], focal=focal, centre=centre, network=points
        )
        fit = refine_fit(self.basis, seen, target, Pose(rotation, translation))
        return pack(
            [fit.pose.rotation, fit.pose.translation, fit.coefficients, fit.points, fit.errors, fit.bias]
        )


def join_fits(fits: Sequence[Fit]) -> Fit:
    """Return fits as one of all their photos."""
    poses = [fit.pose for fit in fits]
    return Fit(
        pose=Pose(
            torch.cat([pose.rotation for pose in poses]), torch.cat([pose.translation for pose in poses])
        ),
        coefficients=torch.cat([fit.coefficients for fit in fits]),
        points=torch.cat([fit.points for fit in fits]),
        errors=torch.cat([fit.errors for fit in fits]),
        bias=torch.cat([fit.bias for fit in fits]),
    )
