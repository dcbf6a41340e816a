"""From errors of points to errors of the surface: a linear map, so that training can minimise millimetres.

The fit that uses the points is close to linear: vertices = M points, M by ridge regression over random heads,
with the points' noise as the ridge. What a similarity (place, turn, size) explains is taken out first of the
points and last of the vertices, to first order about the mean face, as the scores that matter do.
"""

import numpy as np
import torch
from torch import Tensor

from gpu_workers.head.model.head_template import HeadData
from gpu_workers.training.synthetic_photos.random_heads import HeadSampler
from gpu_workers.training.targets import TargetMaker

#: Standard deviation of a point's error that the regression expects, metres.
_NOISE = 0.0015
_HEADS = 3072
_CHUNK = 128
#: Vertices of the face at which the surface is measured.
_VERTICES = 500


class VertexMap:
    """The map for one basis and one set of points.

    Args:
        heads: how many random heads the regression learns from.
    """

    def __init__(
        self, data: HeadData, sampler: HeadSampler, targets: TargetMaker, heads: int = _HEADS, seed: int = 11
    ) -> None:
        device = sampler.device
        face = np.flatnonzero((data.masks["face"] > 0.5) & (data.masks["mouth_interior"] < 0.5))
        face = face[:: max(1, len(face) // _VERTICES)]
        rows = torch.from_numpy(face.astype(np.int64)).to(device)
        mean_points = targets.places(sampler.positions[None])[0].double()
        mean_surface = sampler.positions[rows].double()
        generator = torch.Generator(device).manual_seed(seed)
        inner = torch.zeros(mean_points.numel(), mean_points.numel(), dtype=torch.float64, device=device)
        cross = torch.zeros(mean_surface.numel(), mean_points.numel(), dtype=torch.float64, device=device)
        moves, surface_moves = similarity_moves(mean_points), similarity_moves(mean_surface)
        solve = torch.linalg.pinv(moves)
        for start in range(0, heads, _CHUNK):
            vertices = sampler.sample(min(_CHUNK, heads - start), generator).vertices
            points = (targets.places(vertices).double() - mean_points).flatten(1)
            surface = (vertices[:, rows].double() - mean_surface).flatten(1)
            motion = points @ solve.T
            points, surface = points - motion @ moves.T, surface - motion @ surface_moves.T
            inner += points.T @ points
            cross += surface.T @ points
        ridge = heads * _NOISE**2 * torch.eye(len(inner), dtype=torch.float64, device=device)
        regression = torch.linalg.solve(inner + ridge, cross.T).T
        without = regression - (regression @ moves) @ solve
        seen = surface_moves @ (torch.linalg.pinv(surface_moves) @ without)
        #: (3 S, 3 K) from metres to metres, head's frame.
        self.matrix = (without - seen).float()

    def distances(self, error: Tensor) -> Tensor:
        """Return (B, S) distances on the surface, metres, of point errors (B, K, 3), metres, head's frame."""
        moved = error.flatten(1) @ self.matrix.T
        # Not the bare norm: its gradient at 0 is not a number.
        lengths: Tensor = (moved.view(len(error), -1, 3).square().sum(-1) + 1e-12).sqrt()
        return lengths


def similarity_moves(places: Tensor) -> Tensor:
    """Return (3 N, 7): how places (N, 3) move by a small shift, turn and growth about their middle."""
    centred = places - places.mean(0)
    axes = torch.eye(3, dtype=places.dtype, device=places.device)
    moves = [axis.expand_as(centred) for axis in axes]
    moves += [torch.linalg.cross(axis.expand_as(centred), centred) for axis in axes]
    return torch.stack([*moves, centred]).flatten(1).T
