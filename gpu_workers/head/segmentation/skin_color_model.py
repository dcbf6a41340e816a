"""A person's own skin among the colours of a photo: a mixture of skin's, and one of all round the face.

Rother et al., "GrabCut", 2004, take the colours likewise; where they are unsure, the picture's edges decide:
He et al., "Guided image filtering", 2010. Shapes are fixed, so that a GPU never waits to learn how many
pixels there are.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.ops.masked_statistics import constant
from gpu_workers.head.runtime import cuda_graphs
from gpu_workers.head.runtime.cuda_graphs import graph_constant

#: Components of either mixture; the skin's differ by light.
_SKIN_PARTS, _OTHER_PARTS = 3, 5
_ROUNDS = 4
#: Median deviations of hue within which a sample is usual.
_USUAL_HUE = 3.0
#: Samples of either that are looked at, at least and up to twice as many: every second, third, ... pixel. And
#: samples that tell the usual hue.
_SAMPLES, _HUE_SAMPLES = 1500, 4096
#: Fewer samples describe nothing.
_FEWEST = 8
#: Robust deviations (1.4826 median ones are a normal distribution's) at which an outlier is cut.
_OUTLIER = 2.5 * 1.4826
#: Least covariance of a component, CIELAB: noise and pores.
_LEAST_VARIANCES = (3.5**2, 0.0, 0.0, 0.0, 2.2**2, 0.0, 0.0, 0.0, 2.2**2)
#: Deviations from the nearest component within which a colour may be skin.
_REACH = (2.6, 4.2)
#: Of the guided filter: pixels, and the variance of lightness (of 0..1) below which there is no edge.
_EDGE_RADIUS, _EDGE_NOISE = 2, 0.0016


@dataclass(frozen=True)
class Samples:
    """Pixels that were chosen, in tensors of a fixed size."""

    #: (C, N)
    values: Tensor
    #: (N,) bool: those that are one.
    valid: Tensor


@dataclass(frozen=True)
class Mixture:
    """Normal distributions of a colour; K components."""

    #: (K, 3)
    means: Tensor
    #: (K, 3, 3) inverse covariances.
    precisions: Tensor
    #: (K,) logarithms of weight over volume.
    weights: Tensor


def rate_skin(lab: Tensor, inside: Tensor, foreign: Tensor, mixed: Tensor, prior: Tensor) -> Tensor:
    """Return (h, w) in 0..1: how much a pixel's colour is this person's skin.

    Args:
        lab: (3, h, w) CIELAB.
        inside: (h, w) bool: surely skin for the most part.
        foreign: (h, w) bool: mostly something else.
        mixed: (h, w) bool: skin and something else.
        prior: (h, w) in 0..1 for a colour that fits both.
    """
    pixels = lab.reshape(3, -1)
    usual = _without_outliers(pixels, inside.view(-1))
    skin = fit_mixture(choose_samples(pixels, usual), _SKIN_PARTS)
    logs = log_densities(pixels, skin)
    deviation = (2 * (skin.weights[:, None] - logs).amin(0).clamp(min=0)).sqrt()
    near = smoothstep((_REACH[1] - deviation) / (_REACH[1] - _REACH[0]))
    others = choose_samples(pixels, foreign.view(-1) | mixed.view(-1) & (near < 0.5))
    other_logs = log_densities(pixels, fit_mixture(others, _OTHER_PARTS))
    odds = (_mix(logs) - _mix(other_logs)).clamp(-30, 30)
    expected = prior.view(-1)
    odds += ((expected + 1e-3) / (1 - expected + 1e-3)).log()
    rating = near * torch.where(others.valid.sum() > 4 * _OTHER_PARTS, odds.sigmoid(), 1.0)
    # Without a sample, of a face outside the picture, nothing is a number.
    rating = rating.nan_to_num(0.0)
    return _follow_edges(rating.view(inside.shape), lab[0] / 100)


def choose_samples(pixels: Tensor, where: Tensor, least: int = _SAMPLES) -> Samples:
    """Return some of the chosen pixels, evenly, in their order.

    Args:
        pixels: (C, P).
        where: (P,) bool.
        least: number of samples, where there are enough; less than twice as many are taken.
    """
    ranks = where.cumsum(0, dtype=torch.int32)
    step = (ranks[-1] // least).clamp(min=1)
    wanted = _numbers(2 * least, pixels.device) * step
    places = torch.searchsorted(ranks, (wanted + 1).int()).clamp(max=len(where) - 1)
    return Samples(pixels[:, places], wanted < ranks[-1])


def chosen_medians(values: Tensor, valid: Tensor) -> Tensor:
    """Return the medians (..., C) of the valid values; not a number where none is.

    Args:
        values: (..., C, N).
        valid: (..., N) bool.
    """
    if cuda_graphs.waits_for_values(values):
        return select_medians(values, valid)
    samples = values.expand(*valid.shape[:-1], *values.shape[-2:])
    found = torch.full(samples.shape[:-1], torch.nan)
    for target, some, chosen in zip(
        found.view(-1, found.shape[-1]).numpy(),
        samples.reshape(-1, *samples.shape[-2:]).numpy(),
        valid.reshape(-1, valid.shape[-1]).numpy(),
        strict=True,
    ):
        own = some.take(chosen.nonzero()[0], axis=1)
        if own.size:
            lower, upper = (own.shape[1] - 1) // 2, own.shape[1] // 2
            ordered = np.partition(own, [lower, upper], axis=1)
            target[:] = (ordered[:, lower] + ordered[:, upper]) / 2
    return found


def select_medians(values: Tensor, valid: Tensor) -> Tensor:
    """Return what `chosen_medians` does, on any device, without waiting for it."""
    known = torch.where(valid[..., None, :], values, torch.nan)
    # Of an even count it is the lower of two that torch finds.
    medians: Tensor = torch.stack([known, -known]).nanmedian(-1).values
    return (medians[0] - medians[1]) / 2


def _without_outliers(pixels: Tensor, where: Tensor) -> Tensor:
    """Return the chosen pixels (P,) of the usual hue: a lock of hair over the cheek is none of the skin's."""
    samples = choose_samples(pixels[1:], where, _HUE_SAMPLES)
    middle = chosen_medians(samples.values, samples.valid)[:, None]
    limit = _USUAL_HUE * chosen_medians((samples.values - middle).abs(), samples.valid)[:, None] + 1
    usual = ((pixels[1:] - middle).abs() < limit).all(0) & where
    return torch.where(usual.sum() >= _FEWEST, usual, where)


def fit_mixture(samples: Samples, parts: int) -> Mixture:
    """Return the mixture of N components that samples (3, N) come from, begun from their lightness."""
    values, valid = samples.values, samples.valid
    numbers = _numbers(len(valid), values.device)
    order = torch.where(valid, values[0], torch.inf).argsort(stable=True)
    owner = torch.empty_like(order).scatter_(0, order, numbers * parts // valid.sum().clamp(min=1))
    # Single precision suffices about the middle.
    middle = (values * valid).sum(1) / valid.sum().clamp(min=1)
    values = values - middle[:, None]
    terms, components = _terms(values), _numbers(parts, values.device)[:, None]
    mixture = _describe(values, (owner == components) & valid, valid)
    for _ in range(_ROUNDS - 1):
        owner = _log_densities(terms, mixture).max(0).indices
        mixture = _describe(values, (owner == components) & valid, valid)
    return replace(mixture, means=mixture.means + middle)


def _describe(values: Tensor, members: Tensor, valid: Tensor) -> Mixture:
    """Return the mixture of components that have members (K, N) among the values (3, N)."""
    counts = members.sum(1)
    own = members | (counts < _FEWEST)[:, None] & valid
    means = chosen_medians(values, own)
    moved = values - means[..., None]
    # Outliers (a hair, a mole) count as far as the rest reaches.
    limit = _OUTLIER * chosen_medians(moved.abs(), own)[..., None] + 1e-3
    moved = moved.clamp(-limit, limit) * own[:, None]
    covariance = moved @ moved.transpose(1, 2) / own.sum(1)[:, None, None].clamp(min=1)
    covariance = covariance + constant(_LEAST_VARIANCES, values.device).view(3, 3)
    # The inverse by cross products of the rows: no solver, which would wait for the device.
    crossed = torch.linalg.cross(covariance.roll(-1, 1), covariance.roll(-2, 1))
    volume = (covariance[:, 0] * crossed[:, 0]).sum(1)
    weights = (counts / valid.sum().clamp(min=1) + 1e-3).log() - 0.5 * volume.log()
    return Mixture(means, crossed / volume[:, None, None], weights)


def log_densities(pixels: Tensor, mixture: Mixture) -> Tensor:
    """Return (K, P) logarithms of the components' densities at pixels (3, P), but for a constant."""
    middle = mixture.means.mean(0)
    return _log_densities(_terms(pixels - middle[:, None]), replace(mixture, means=mixture.means - middle))


def _mix(logs: Tensor) -> Tensor:
    """Return the logarithm (P,) of the sum of densities whose logarithms are (K, P)."""
    best = logs.amax(0)
    # A CPU is slow at numbers that are all but 0.
    return best + (logs - best).clamp_(min=-50).exp_().sum(0).log_()


def _terms(pixels: Tensor) -> Tensor:
    """Return (10, P): the products, values and ones in which a normal distribution's logarithm is linear."""
    return torch.cat([pixels * pixels, pixels * pixels.roll(-1, 0), pixels, torch.ones_like(pixels[:1])])


def _log_densities(terms: Tensor, mixture: Mixture) -> Tensor:
    """Return (K, P) of the pixels' `_terms`."""
    means, precisions = mixture.means, mixture.precisions
    pulls = (precisions @ means[..., None])[..., 0]
    squares = precisions.diagonal(dim1=1, dim2=2)
    mixed = precisions.roll(-1, 2).diagonal(dim1=1, dim2=2)
    offset = mixture.weights - 0.5 * (means * pulls).sum(1)
    return torch.cat([-0.5 * squares, -mixed, pulls, offset[:, None]], 1) @ terms


def _follow_edges(rating: Tensor, guide: Tensor) -> Tensor:
    level, middle, both, square = _mean_around(torch.stack([rating, guide, rating * guide, guide * guide]))
    slope = (both - middle * level) / (square - middle * middle + _EDGE_NOISE)
    slope, offset = _mean_around(torch.stack([slope, level - slope * middle]))
    followed: Tensor = (slope * guide + offset).clamp(0, 1)
    return followed


def _mean_around(pictures: Tensor) -> Tensor:
    side = 2 * _EDGE_RADIUS + 1
    means = functional.pad(pictures[None], (_EDGE_RADIUS,) * 4, mode="replicate")[0]
    for axis in (-1, -2):
        length = means.shape[axis] - side + 1
        # A CPU adds faster than it pools.
        first, *others = (means.narrow(axis, start, length) for start in range(side))
        means = first.clone()
        for other in others:
            means += other
    return means / side**2


@graph_constant(maxsize=16)
def _numbers(count: int, device: torch.device) -> Tensor:
    return torch.arange(count).to(device)
