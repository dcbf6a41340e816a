"""The fit as a CUDA graph: some thousand small kernels launched as one; gauss_newton.py is the plain twin."""

import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from gpu_workers.head.fitting.gauss_newton import Fit, refine_fit, start_fit
from gpu_workers.head.fitting.linear_model import DTYPE, FitBasis
from gpu_workers.head.fitting.observation import NetworkPoints, Observation
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import LANDMARKS
from gpu_workers.head.ops.linalg import Layout, pack
from gpu_workers.head.ops.rigid_transforms import Pose
from gpu_workers.head.runtime.cuda_graphs import HEADS, CapturedCall, beside

#: Batches up to so many photos are replays of one photo's graph; larger ones a pass of single kernels. It is
#: more than any GPU type's jobs at once; from where on the second way is the faster one was not measured.
_REPLAYED_BATCH = 6


class GraphedFit:
    """`fit_landmarks` on a CUDA device; its start, a small singular value decomposition, on the CPU.

    The graph is that of one photo: what solves several systems at once in torch takes memory while it is
    captured, which CUDA forbids.
    """

    def __init__(self, data: HeadData, basis: FitBasis) -> None:
        self._host = FitBasis(data, torch.device("cpu"))
        #: The plain form, on the device.
        self.basis = basis
        self._graphs: dict[int | None, _Graph] = {}
        self._lock = threading.Lock()

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
        with self._lock:
            rank = None if seen.network is None else seen.network.loadings.shape[-1]
            if rank not in self._graphs:
                with beside(self.basis.device, "heads"):
                    self._graphs[rank] = _Graph(self.basis, rank)
            graph = self._graphs[rank]
        fits = []
        for row in range(len(target)):
            one = slice(row, row + 1)
            fits.append(
                graph.fit(seen.choose(one), target[one], Pose(pose.rotation[one], pose.translation[one]))
            )
        return join_fits(fits)


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


def to_host(fit: Fit) -> Fit:
    """Return the fit on the CPU."""
    return Fit(
        pose=Pose(fit.pose.rotation.cpu(), fit.pose.translation.cpu()),
        coefficients=fit.coefficients.cpu(),
        points=fit.points.cpu(),
        errors=fit.errors.cpu(),
        bias=fit.bias.cpu(),
    )


class _Graph:
    """A graph for one photo; `rank` is that of the network's loadings, None without a network."""

    def __init__(self, basis: FitBasis, rank: int | None) -> None:
        size, points = basis.size, (LANDMARKS, 3)
        every = (len(basis.base), 3)
        network = () if rank is None else (every, every, (3 * len(basis.base), rank))
        self._given = Layout(shapes=(points, (), (2,), (size,), (3, 3), (3,), *network))
        self._found = Layout(shapes=((3, 3), (3,), (size,), points, (LANDMARKS,), points))
        self._input = torch.zeros(1, self._given.total, dtype=DTYPE, device=basis.device)
        self._staging = torch.zeros(1, self._given.total, dtype=DTYPE).pin_memory()
        self._output = torch.zeros(1, self._found.total, dtype=DTYPE).pin_memory()
        self._basis = basis
        self._captured: CapturedCall[Tensor] | None = None

    def fit(self, seen: Observation, target: Tensor, pose: Pose) -> Fit:
        with HEADS.lock, beside(self._basis.device, "heads"):
            given = [seen.landmarks, seen.focal, seen.centre, target, pose.rotation, pose.translation]
            if seen.network is not None:
                given += [seen.network.points, seen.network.precision, seen.network.loadings]
            self._staging.copy_(pack(given))
            self._input.copy_(self._staging, non_blocking=True)
            if self._captured is None:
                self._captured = CapturedCall(self._run, self._basis.device, HEADS)
            self._output.copy_(self._captured.replay(), non_blocking=True)
            torch.cuda.current_stream().synchronize()
            rotation, translation, coefficients, points, errors, bias = self._found.split(
                self._output.clone()
            )
        pose = Pose(rotation, translation)
        return Fit(pose=pose, coefficients=coefficients, points=points, errors=errors, bias=bias)

    def _run(self) -> Tensor:
        landmarks, focal, centre, target, rotation, translation, *rest = self._given.split(self._input)
        network = NetworkPoints(points=rest[0], precision=rest[1], loadings=rest[2]) if rest else None
        # The scores have done their part in the target.
        seen = Observation(
            landmarks=landmarks, scores=target[:, :0], focal=focal, centre=centre, network=network
        )
        fit = refine_fit(self._basis, seen, target, Pose(rotation, translation))
        return pack(
            [fit.pose.rotation, fit.pose.translation, fit.coefficients, fit.points, fit.errors, fit.bias]
        )
