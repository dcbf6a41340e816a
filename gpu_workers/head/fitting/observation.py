"""What detectors saw in photos, as the fit takes it: landmarks, scores, the network's points, the lens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gpu_workers.head.model.mediapipe_landmarks import eye_axis, eye_distance


@dataclass(frozen=True, kw_only=True)
class NetworkPoints:
    """What the face network (dense_network.py) says of a picture whose eyes are level; B photos, K points."""

    #: (B, K, 3) pixels; z in the same unit, away from the camera.
    points: Tensor
    #: (B, K, 3) one over the standard deviation of what errs alone, 1 / pixels; 0 where nothing is known.
    precision: Tensor
    #: (B, 3 K, R) loadings of the errors' correlation; coordinates point by point, x, y, z.
    loadings: Tensor


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the detector saw; B photos."""

    #: (B, 478, 3) pixels; z in the same unit, away from the camera.
    landmarks: Tensor
    #: (B, 52) scores 0..1.
    scores: Tensor
    #: (B,) pixels
    focal: Tensor
    #: (B, 2) principal point, pixels.
    centre: Tensor
    #: None where the network was not asked.
    network: NetworkPoints | None = None

    @property
    def eye_distance(self) -> Tensor:
        """Distance of the outer eye corners (B,) in pixels."""
        return eye_distance(self.landmarks[..., :2])

    def to(self, device: torch.device) -> "Observation":
        """Return the observation on a device."""
        return self._map(lambda value: value.to(device))

    def choose(self, photos: slice) -> "Observation":
        """Return the observation of some of the photos."""
        return self._map(lambda value: value[photos])

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Observation":
        values = {name: change(value) for name, value in vars(self).items() if name != "network"}
        network = self.network and NetworkPoints(
            **{name: change(value) for name, value in vars(self.network).items()}
        )
        return Observation(**values, network=network)


def level_eyes(seen: Observation) -> tuple[Observation, Tensor]:
    """Return what the detector would have seen with the camera rolled until the eyes are level.

    The errors of the landmarks are known in such a picture, and the network has looked at one.

    Returns:
        The observation, and the rotations (B, 3, 3) of the camera's frame that undo the roll.
    """
    across = eye_axis(seen.landmarks[..., :2])
    cosine, sine = (across / across.norm(dim=1, keepdim=True)).unbind(1)
    turn = torch.zeros(len(across), 3, 3, dtype=across.dtype, device=across.device)
    turn[:, 0, 0] = turn[:, 1, 1] = cosine
    turn[:, 0, 1], turn[:, 1, 0] = -sine, sine
    turn[:, 2, 2] = 1
    centre = torch.cat([seen.centre, torch.zeros_like(seen.centre[:, :1])], dim=1)[:, None]
    # Row vectors times a matrix: the inverse turn.
    landmarks = (seen.landmarks - centre) @ turn + centre
    network = seen.network
    if network is not None:
        network = replace(network, points=(network.points - centre) @ turn + centre)
    return replace(seen, landmarks=landmarks, network=network), turn


def join_photos(views: Sequence[Observation]) -> Observation:
    """Return observations as one of all their photos; network points that one lacks have no weight."""
    joined = {
        name: torch.cat([getattr(view, name) for view in views])
        for name in ("landmarks", "scores", "focal", "centre")
    }
    asked = next((view.network for view in views if view.network is not None), None)
    network = None
    if asked is not None:
        parts = [view.network or _silent(asked, len(view.landmarks)) for view in views]
        network = NetworkPoints(
            **{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(asked)}
        )
    return Observation(**joined, network=network)


def _silent(like: NetworkPoints, photos: int) -> NetworkPoints:
    """Return network points of N photos without weight."""
    return NetworkPoints(
        **{name: value.new_zeros(photos, *value.shape[1:]) for name, value in vars(like).items()}
    )
