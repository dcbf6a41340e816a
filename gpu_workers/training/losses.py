"""What training minimises: Gaussian likelihoods of points, and millimetres on the surface."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_workers.head.landmarks.dense_network import FaceEstimate, correlated_length
from gpu_workers.training.synthetic_photos.vertex_map import VertexMap
from gpu_workers.training.targets import Targets

#: Weights beside the likelihood in the picture: of depth, of the correlation, of a millimetre on the surface.
_DEPTH = 0.5
_CORRELATION = 0.25
_MILLIMETRE = 0.3


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Means over a batch; each a scalar tensor."""

    #: Negative log likelihoods a point: x and y, and z, each alone.
    plane: Tensor
    depth: Tensor
    #: The same of all coordinates at once, a coordinate, of errors in units of their deviations.
    correlation: Tensor
    #: Mean distance on the surface after similarity.
    millimetres: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return (
            self.plane
            + _DEPTH * self.depth
            + _CORRELATION * self.correlation
            + _MILLIMETRE * self.millimetres
        )


def measure_losses(estimate: FaceEstimate, targets: Targets, surface: VertexMap) -> Losses:
    """Return the losses of an estimate.

    Means and deviations learn from each coordinate alone, and from the surface; only the modes and their
    strengths learn from the correlation: in one common likelihood, errors that the modes explain would count
    for little, and just those are the ones that shape is made of.
    """
    error = estimate.points - targets.points
    spread = estimate.log_deviation
    plane = 2 * spread[..., 0] + 0.5 * (error[..., :2] ** 2).sum(-1) * torch.exp(-2 * spread[..., 0])
    depth = spread[..., 1] + 0.5 * error[..., 2] ** 2 * torch.exp(-2 * spread[..., 1])
    standard = (error / estimate.deviation).detach().flatten(1).clamp(-5, 5)
    length, log_determinant = correlated_length(standard, estimate.loadings)
    return Losses(
        plane=plane.mean(),
        depth=depth.mean(),
        correlation=0.5 * (length + log_determinant).mean() / standard.shape[1],
        millimetres=1000 * surface.distances(targets.in_metres(error)).mean(),
    )
