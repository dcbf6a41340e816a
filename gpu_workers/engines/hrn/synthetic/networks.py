"""Random weights of the reconstructing networks, in a range that keeps the face a face."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu_workers.engines.hrn.networks import (
    coefficient_network,
    detail_network,
    retouching_network,
)

StateDict = dict[str, Tensor]

#: Spread of each group of coefficients: identity, expression, texture, angle, light, x and y, depth.
_SPREADS = (0.5, 0.4, 0.5, 0.04, 0.04, 0.02, 0.02)
_DETAIL_SHARE = 0.2


def make_checkpoint() -> dict[str, StateDict | Tensor]:
    """Return `pytorch_model.pt`."""
    network = coefficient_network()
    _stabilize(network, varied_pictures(8, 224))
    with torch.no_grad():
        features = network.get_submodule("backbone")(varied_pictures(8, 224))
        size = float(features.square().mean().sqrt()) * math.sqrt(features.shape[1])
        for layer, spread in zip(network.get_submodule("final_layers").children(), _SPREADS, strict=True):
            nn.init.normal_(layer.get_parameter("weight"), 0, spread / size)
    return {
        "net_recon": network.state_dict(),
        "mid_net": detail_network(6, 3).state_dict(),
        "high_net": detail_network(9, 1).state_dict(),
        "alpha": torch.full((1,), _DETAIL_SHARE),
        "beta": torch.full((1,), _DETAIL_SHARE),
    }


def make_retouching_checkpoint() -> dict[str, StateDict]:
    """Return `de_retouching_model.pth`."""
    network = retouching_network()
    _stabilize(network, 2 * varied_pictures(2, 256) - 1)
    return {"generator": network.state_dict()}


def varied_pictures(count: int, side: int) -> Tensor:
    """Return (count, 3, side, side) in 0..1: soft shades in one, hard edges and noise in the next."""
    noise = [torch.rand(count, 3, grain, grain) for grain in (3, 9, 56)]
    soft = [functional.interpolate(n, (side, side), mode="bicubic", align_corners=False) for n in noise]
    hard = [functional.interpolate(n, (side, side), mode="nearest") for n in noise]
    mixed = [0.5 * kind[0] + 0.3 * kind[1] + 0.2 * kind[2] for kind in (soft, hard)]
    odd = (torch.arange(count) % 2 == 1)[:, None, None, None]
    contrast = torch.linspace(0.5, 1.8, count)[:, None, None, None]
    pictures = torch.where(odd, mixed[1] + 0.1 * torch.randn(count, 3, side, side), mixed[0])
    return ((pictures - 0.5) * contrast + 0.45).clamp(0, 1)


def _stabilize(network: nn.Module, pictures: Tensor) -> None:
    """Measure the statistics of batch normalisation; without them random layers explode."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(pictures)
    network.eval()
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
