"""How MediaPipe's landmarks miss the points of our head: bias and correlated error, measured on renders.

data/landmark_errors.safetensors is made by `python -m gpu_workers.engines.anny_training.measure_landmarks`:
random heads are rendered, their landmarks detected as a photo's are, and what is detected is compared with
what is there. No photo of a person and no scan takes part.

Everything is in units of the outer-eye distance, in a picture whose eyes are level: x right, y down, z away
from the camera and relative to the skin landmarks' mean.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from face3d.errors import EngineUnavailable

FILE = Path(__file__).parent / "data" / "landmark_errors.safetensors"
SHA256 = "aeb1d06f02eb1ce78f1cdb306ad694d7751e75327fa362befdfa40387e0c0f9c"
#: Yaw and pitch of one unit in `pose_features`, degrees.
_ANGLE_UNIT = 20.0


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


@cache
def load_landmark_errors() -> LandmarkErrors:
    """Return the committed model, float32 on the CPU.

    Raises:
        EngineUnavailable: the file is missing or another one.
    """
    try:
        content = FILE.read_bytes()
    except OSError as error:
        raise EngineUnavailable(f"{FILE.name} is missing") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise EngineUnavailable(f"{FILE.name} is not the file that this version was built with")
    arrays = load_file(FILE)
    return LandmarkErrors(
        **{name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
    )
