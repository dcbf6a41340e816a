"""How MediaPipe's landmarks miss the points of our head: bias, correlated error, what the scores are worth.

`assumed_errors` is what the engine works with. `gpu_workers.training.measure_landmarks` measures
the same arrays on renders of random heads; docs/explanation/accuracy.md says why they are not used yet.

Everything is in units of the outer-eye distance, in a picture whose eyes are level: x right, y down, z away
from the camera and relative to the skin landmarks' mean.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_workers.head.model.mediapipe_landmarks import LANDMARKS, SKIN_LANDMARKS

#: Yaw and pitch of one unit in `pose_features`, degrees.
_ANGLE_UNIT = 20.0
_POSE_FEATURES = 6
#: Error of one landmark, and of how many independent ones all together are worth: errors are correlated.
_SIGMA = 0.02
_INDEPENDENT = 60.0
#: Weight of the detector's depth against its place in the picture.
_DEPTH_WEIGHT = 0.15
#: How far scores above those of a neutral face are believed, and the expression's deviation from that.
_SCORE_GAIN = 0.8
_EXPRESSION_SD = 0.25
#: Variance of what is not known: the irises' depth.
UNKNOWN = 1e4


@dataclass(frozen=True, kw_only=True)
class LandmarkErrors:
    """The error model: error = bias . pose_features + factor . n1 + sqrt(spread) . n2, n1 and n2 white."""

    #: (F, 478, 3) mean error for each pose feature.
    bias: Tensor
    #: (1434, R) what errs together; rows are landmark x (x, y, z).
    factor: Tensor
    #: (1434,) variance of what errs alone.
    spread: Tensor
    #: (53, 52) expression scores and 1 to the expected coefficients.
    expression: Tensor
    #: (52,) standard deviation of the coefficients about what is expected.
    expression_spread: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "LandmarkErrors":
        """Return the model on a device."""
        return LandmarkErrors(**{name: value.to(device, dtype) for name, value in vars(self).items()})


def pose_features(yaw: Tensor, pitch: Tensor) -> Tensor:
    """Return (B, F) features of the head's angles (B,), degrees, on which the bias depends linearly."""
    y, p = yaw / _ANGLE_UNIT, pitch / _ANGLE_UNIT
    return torch.stack([torch.ones_like(y), y, p, y * y, p * p, y * p], dim=1)


def assumed_errors(trust: NDArray[np.float32], score_baseline: NDArray[np.float32]) -> LandmarkErrors:
    """Return the model without bias in which all landmarks err alone, by so much that they weigh as 60 do.

    Args:
        trust: (478,) 0..1, of the correspondence.
        score_baseline: (52,) scores of a neutral face.
    """
    spread = torch.from_numpy(
        _SIGMA**2 * LANDMARKS / _INDEPENDENT / np.maximum(trust.astype(np.float64), 1e-6)
    )
    rows = spread[:, None].repeat(1, 3)
    rows[:, 2] /= _DEPTH_WEIGHT**2
    rows[SKIN_LANDMARKS:, 2] = UNKNOWN
    baseline = torch.from_numpy(score_baseline.astype(np.float64))
    gain = _SCORE_GAIN / (1 - baseline).clamp(min=0.2)
    return LandmarkErrors(
        bias=torch.zeros(_POSE_FEATURES, LANDMARKS, 3),
        factor=torch.zeros(3 * LANDMARKS, 1),
        spread=rows.reshape(-1),
        expression=torch.cat([torch.diag(gain), -(gain * baseline)[None]]),
        expression_spread=torch.full((len(baseline),), _EXPRESSION_SD),
    )
