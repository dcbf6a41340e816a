"""How well a network does on a fixed set of rendered heads."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from gpu_workers.head.landmarks.dense_network import FaceNetwork
from gpu_workers.head.model.mediapipe_landmarks import SKIN_LANDMARKS
from gpu_workers.training.batches import Batch
from gpu_workers.training.synthetic_photos.vertex_map import VertexMap


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Means over heads and points; %IOD is per cent of the distance of the outer eye corners."""

    #: Distance in the picture: the skin's 468 landmarks, and all points.
    landmarks_iod: float
    points_iod: float
    #: Distance in depth, all points.
    depth_iod: float
    #: Distance on the surface after similarity, by the linear map (vertex_map.py), millimetres.
    surface_mm: float
    #: Root mean square of error over deviation: 1 where the network knows how good it is.
    calibration_plane: float
    calibration_depth: float
    #: The same of all coordinates at once, by the covariance with its correlation.
    calibration_joint: float

    def row(self) -> dict[str, float]:
        """Return the figures by name."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@torch.no_grad()
def measure_errors(network: FaceNetwork, batches: list[Batch], surface: VertexMap) -> Errors:
    """Return a network's errors on batches of known heads."""
    trained = network.training
    network.eval()
    sums = torch.zeros(7, dtype=torch.float64, device=surface.matrix.device)
    for batch in batches:
        sums += _measure(network, batch, surface)
    network.train(trained)
    means = (sums / len(batches)).tolist()
    return Errors(
        landmarks_iod=means[0],
        points_iod=means[1],
        depth_iod=means[2],
        surface_mm=means[3],
        calibration_plane=means[4] ** 0.5,
        calibration_depth=means[5] ** 0.5,
        calibration_joint=means[6] ** 0.5,
    )


def _measure(network: FaceNetwork, batch: Batch, surface: VertexMap) -> Tensor:
    planes = batch.planes
    with torch.autocast(planes.device.type, torch.bfloat16, enabled=planes.device.type == "cuda"):
        estimate = network(planes)
    targets = batch.targets
    error = estimate.points - targets.points
    share = 100 / targets.eye_distance[:, None]
    plane = error[..., :2].norm(dim=-1) * share
    standard = error / estimate.deviation
    length, _ = estimate.whiten(error)
    return torch.stack(
        [
            plane[:, :SKIN_LANDMARKS].mean(),
            plane.mean(),
            (error[..., 2].abs() * share).mean(),
            1000 * surface.distances(targets.in_metres(error)).mean(),
            (standard[..., :2] ** 2).mean(),
            (standard[..., 2] ** 2).mean(),
            length.mean() / standard[0].numel(),
        ]
    ).double()
