"""What the network should answer for a head, and what its errors mean in millimetres."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_workers.head.model.dense_landmarks import FacePoints
from gpu_workers.head.model.mediapipe_landmarks import OUTER_EYE_CORNERS, SKIN_LANDMARKS
from gpu_workers.training.synthetic_photos.random_heads import RandomHeads


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Truth of B crops, and the camera that errors are measured with."""

    #: (B, K, 3) half sides of the crop; frame of gpu_workers.head.landmarks.dense_network.
    points: Tensor
    #: (B,) metres: mean depth of the skin's landmarks.
    depth: Tensor
    #: (B,) half a side of the crop at depth 1; (B, 2) the crop's middle there.
    half: Tensor
    middle: Tensor
    #: (B, 3, 3) from the head's frame to the camera's.
    rotation: Tensor

    @property
    def eye_distance(self) -> Tensor:
        """(B,) distance in space of the outer eye corners, half sides of the crop."""
        right, left = OUTER_EYE_CORNERS
        distance: Tensor = (self.points[:, right] - self.points[:, left]).norm(dim=1)
        return distance

    def in_metres(self, error: Tensor) -> Tensor:
        """Return errors (B, K, 3) of `points` in metres in the head's frame, to first order.

        A point at crop place x and relative depth z stands at Z (x half + middle), Z = depth (1 + z half).
        """
        half = self.half[:, None, None]
        scale = half * self.depth[:, None, None]
        plane = self.points[..., :2] * half + self.middle[:, None]
        along = error[..., 2:]
        aside = (1 + self.points[..., 2:] * half) * error[..., :2] + plane * along
        # x_camera = R x_head, so that rows of points turn back by R.
        return scale * torch.cat([aside, along], -1) @ self.rotation


class TargetMaker:
    """Makes targets of the face network's points on one device."""

    def __init__(self, points: FacePoints, device: torch.device) -> None:
        self.vertices = torch.from_numpy(points.vertices).to(device)
        self.weights = torch.from_numpy(points.weights).to(device)

    def places(self, vertices: Tensor) -> Tensor:
        """Return (B, K, 3): the points on vertices (B, V, 3)."""
        places: Tensor = (vertices[:, self.vertices] * self.weights[..., None]).sum(2)
        return places

    def make(self, heads: RandomHeads, vertices: Tensor) -> Targets:
        """Return the targets of heads whose camera-frame vertices (B, V, 3) are known."""
        places = self.places(vertices)
        depth = places[:, :SKIN_LANDMARKS, 2].mean(1)
        half = 0.5 / heads.focal
        middle = (0.5 - heads.centre) / heads.focal[:, None]
        plane = (places[..., :2] / places[..., 2:] - middle[:, None]) / half[:, None, None]
        relative = (places[..., 2] / depth[:, None] - 1) / half[:, None]
        return Targets(
            points=torch.cat([plane, relative[..., None]], -1),
            depth=depth,
            half=half,
            middle=middle,
            rotation=heads.rotation,
        )
