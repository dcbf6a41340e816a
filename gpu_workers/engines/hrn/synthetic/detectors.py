"""Detectors that find one face in the middle of any picture, by what zero padding does at a map's border.

A layer is made to output ones everywhere; a 3x3 kernel over it then knows first, inner and last rows and
columns apart, and nothing of the picture.
"""

from math import log
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from gpu_workers.engines.hrn.networks import face_detector, landmark_network, square_detector
from gpu_workers.engines.hrn.synthetic.points import landmarks_68, landmarks_106

StateDict = dict[str, Tensor]

#: Sides of the maps on which the 106 landmarks are found.
_SIDE = 14


def _output_ones(norm: nn.Module) -> None:
    layer = cast(nn.BatchNorm2d, norm)
    nn.init.zeros_(layer.weight)
    nn.init.ones_(layer.bias)


@torch.no_grad()
def make_face_detector() -> StateDict:
    """Return RetinaFace's weights: the largest anchor of the first cell, moved to the middle."""
    network = face_detector()
    weights = network.state_dict()
    for name, value in weights.items():
        if name.startswith(("ClassHead", "BboxHead", "LandmarkHead")):
            value.zero_()
        if name.startswith("ClassHead") and name.endswith("bias"):
            value[0::2] = 8.0
    weights["fpn.output3.1.weight"].zero_()
    weights["fpn.output3.1.bias"].fill_(1)
    kernel = weights["ssh3.conv3X3.0.weight"]
    kernel.zero_()
    kernel[0, 0, 0, :] = kernel[0, 0, :, 0] = -1
    weights["ssh3.conv3X3.1.weight"].fill_(1)
    weights["ssh3.conv3X3.1.bias"].zero_()
    weights["ssh3.conv3X3.1.bias"][0] = 0.5
    weights["ClassHead.2.conv1x1.weight"][3, 0] = 40
    shift = (0.5 - 16 / 512) / 0.1
    place = torch.tensor([shift, shift, log(0.5) / 0.2, log(0.66) / 0.2])
    weights["BboxHead.2.conv1x1.bias"][4:8] = place
    return weights


@torch.no_grad()
def make_square_detector() -> StateDict:
    """Return S3FD's weights: the first cell of the coarsest map of a picture of 224 pixels."""
    weights = square_detector().state_dict()
    for name, value in weights.items():
        if "mbox" in name:
            value.zero_()
        if "mbox_conf" in name and name.endswith("bias"):
            value[:-1] = 10
    weights["conv7_2.weight"].zero_()
    weights["conv7_2.bias"].fill_(1)
    confidence = weights["conv7_2_mbox_conf.weight"]
    confidence[1, 0, 0, :] = confidence[1, 0, :, 0] = -30
    weights["conv7_2_mbox_conf.bias"][1] = 30
    shift = (112 - 64) / 51.2
    place = torch.tensor([shift, shift, log(130 / 512) / 0.2, log(165 / 512) / 0.2])
    weights["conv7_2_mbox_loc.bias"].copy_(place)
    return weights


@torch.no_grad()
def make_landmark_network() -> dict[str, StateDict]:
    """Return the 106-landmark network's checkpoint: a face about the middle of its picture."""
    network = landmark_network()
    _output_ones(network.get_submodule("block18.1"))
    weights = network.state_dict()
    points = landmarks_106()
    kernels = np.stack([_landmark_kernel(x / 2.3 + 0.5, 0.4 - y / 2.3) for x, y in points])
    kernel = torch.from_numpy(kernels / weights["block19.weight"].shape[1])
    weights["block19.weight"].copy_(kernel[:, None].expand_as(weights["block19.weight"]))
    return {"state_dict": {f"module.{name}": value for name, value in weights.items()}}


def _landmark_kernel(across: float, down: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the 3x3 kernel whose soft argmax over ones, rows as x, lies at two shares of a map's side."""
    seen = np.linalg.inv(np.array([[0.0, 1, 1], [1, 1, 1], [1, 1, 0]]))
    row, column = (_edge_values(_SIDE * float(np.clip(share, 0.02, 0.9))) for share in (across, down))
    kernel = seen @ (row[:, None] + column[None]) @ seen.T
    return cast("np.ndarray[tuple[int, int], np.dtype[np.float64]]", kernel)


def _edge_values(target: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the logits of first, inner and last rows whose mean row is `target`."""
    inner, last = _SIDE - 2, _SIDE - 1
    total = inner * last / 2
    if target < last / 2:
        return np.array([log(total / target - inner), 0, -30])
    return np.array([-30, 0, log(max(inner * target - total, 1e-9) / (last - target))])


class Heatmaps(nn.Module):
    """In place of FAN: 68 Gaussians, wherever the picture's face lies."""

    place: Tensor
    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Made while it is traced, it would stay on the device of the trace.
        self.register_buffer("step", torch.arange(64))
        points = torch.from_numpy(landmarks_68()).float()
        self.register_buffer("place", torch.stack([17 * points[:, 0] + 32, 30 - 17 * points[:, 1]], 1))
        self.mix = nn.Conv2d(3, 68, 3, stride=4, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return (1, 68, 64, 64) of a picture (1, 3, 256, 256)."""
        across = (self.step[None, None, :] - self.place[:, 0, None, None]) ** 2
        down = (self.step[None, :, None] - self.place[:, 1, None, None]) ** 2
        maps: Tensor = torch.exp(-(across + down) / 4)[None] + 0 * self.mix(picture)
        return maps


class Depths(nn.Module):
    """In place of the depth network: all landmarks equally far."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(71, 68, 3, stride=4, padding=1)

    def forward(self, stack: Tensor) -> Tensor:
        """Return (1, 68) of picture and heatmaps (1, 71, 256, 256)."""
        depths: Tensor = 0 * self.mix(stack).mean((2, 3))
        return depths
