"""Finds small patches of one photo in another, to a fraction of a pixel; batched, CPU and CUDA.

Each patch is laid into the other photo by the affine map that the surface between both views gives, and
moved until it looks most like what is there: inverse-compositional Gauss-Newton (Baker and Matthews,
Lucas-Kanade 20 Years On, 2004), from coarse pixels to fine ones. Patches have mean 0 and deviation 1, so that
another exposure changes nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

#: Sides of the pixels that patches are made of, coarse to fine, as shares of the eye distance.
_SCALES = (0.016, 0.008, 0.004)
#: Pixels along a patch's side, and the deviation of the window that weighs them, in pixels.
PATCH = 13
_WINDOW = 3.5
_STEPS = 5
#: Farthest move of a step, in pixels of its scale.
_FARTHEST = 1.0
#: Least deviation of a patch's grey values (0..255) that counts as texture: below it there is only noise.
_FLAT = 1.5
#: Added to the normal equations, in those of a patch of deviation 1.
_DAMPING = 1e-3


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Where N patches are looked for."""

    #: (N, 2) their middles in the first photo, and where they are expected in the second; pixels, the centre
    #: of the first one is (0.5, 0.5).
    places: Tensor
    expected: Tensor
    #: (N, 2, 2) how far a place in the second photo moves with one in the first.
    affine: Tensor


@dataclass(frozen=True, kw_only=True)
class Match:
    """Where N patches were found."""

    #: (N, 2) pixels of the second photo.
    places: Tensor
    #: (N,) correlation of the patches in both photos, -1..1.
    agreement: Tensor
    #: (N, 2, 2) inverse covariance of the places, 1 / pixels^2, as far as the grey values tell.
    information: Tensor


@dataclass(frozen=True, kw_only=True)
class _Level:
    """A photo's grey values at one scale."""

    #: (1, 1, h, w)
    values: Tensor
    #: Pixels of this scale to one of the photo.
    factor: float
    #: (2,) width and height of the photo in them: h and w before they were rounded.
    extent: Tensor


class GreyPyramid:
    """A photo's grey values at the scales of the matching.

    Args:
        photo: (H, W, 3) uint8.
        eye_distance: pixels.
    """

    def __init__(self, photo: Tensor, eye_distance: float) -> None:
        weights = torch.tensor([0.299, 0.587, 0.114], device=photo.device)
        grey = (photo.to(torch.float32) @ weights)[None, None]
        self.levels: list[_Level] = []
        for share in _SCALES:
            # Never more pixels than the photo has.
            factor = min(1.0, 1 / (share * eye_distance))
            size = [max(PATCH, round(side * factor)) for side in grey.shape[2:]]
            level = functional.interpolate(grey, size, mode="bilinear", antialias=True, align_corners=False)
            extent = factor * torch.tensor(grey.shape[:1:-1], dtype=torch.float32, device=grey.device)
            self.levels.append(_Level(values=level, factor=factor, extent=extent))


def match_patches(first: GreyPyramid, second: GreyPyramid, patches: Patches) -> Match:
    """Find patches of the first photo in the second."""
    places, affine = patches.places.float(), patches.affine.float()
    found = patches.expected.float()
    offsets, window = _patch(places.device)
    for one, other in zip(first.levels, second.levels, strict=True):
        # From pixels of the first photo at this scale to those of the second.
        between = affine * (other.factor / one.factor)
        laid = offsets @ between.mT
        wanted, gradient = _normalised_patches(one, places * one.factor, offsets, window)
        gradient = gradient @ torch.linalg.inv_ex(between).inverse
        weighted = gradient * window[:, None]
        normal = weighted.mT @ gradient
        inverse = torch.linalg.inv_ex(normal + _DAMPING * torch.eye(2, device=places.device)).inverse
        for _ in range(_STEPS):
            seen = _normalise(_sample(other, (found * other.factor)[:, None] + laid), window)[0]
            move = ((inverse @ weighted.mT) @ (wanted - seen)[..., None])[..., 0]
            found = found + move.clamp(-_FARTHEST, _FARTHEST) / other.factor
    seen, contrast = _normalise(_sample(other, (found * other.factor)[:, None] + laid), window)
    agreement = (wanted * seen * window).sum(1)
    miss = ((wanted - seen) ** 2 * window).sum(1).clamp(min=1e-4)
    textured = (contrast > _FLAT).float()
    information = normal * (other.factor**2 * textured / miss)[:, None, None]
    return Match(places=found, agreement=agreement, information=information)


def match_there_and_back(first: GreyPyramid, second: GreyPyramid, patches: Patches) -> tuple[Match, Tensor]:
    """Return the match, and how far (N,) from its place each patch is found on the way back, pixels."""
    match = match_patches(first, second, patches)
    back = match_patches(
        second,
        first,
        Patches(
            places=match.places,
            expected=patches.places,
            affine=torch.linalg.inv_ex(patches.affine.float()).inverse,
        ),
    )
    return match, (back.places - patches.places.float()).norm(dim=1)


def _patch(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a patch's pixels (K, 2) about its middle, and their weights (K,), whose sum is 1."""
    line = torch.arange(PATCH, dtype=torch.float32, device=device) - (PATCH - 1) / 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    offsets = torch.stack([x, y], dim=-1).reshape(-1, 2)
    window = torch.exp(-(offsets**2).sum(1) / (2 * _WINDOW**2))
    return offsets, window / window.sum()


def _sample(level: _Level, places: Tensor) -> Tensor:
    """Return grey values (N, K) at places (N, K, 2), pixels of the level; the border goes on outside."""
    grid = (places * (2 / level.extent) - 1)[None]
    sampled = functional.grid_sample(
        level.values, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled[0, 0]


def _normalise(values: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Return patches (N, K) of weighted mean 0 and deviation 1, and the deviations (N,) that they had."""
    centred = values - (values @ window)[:, None]
    deviation = ((centred**2) @ window).sqrt()
    return centred / deviation.clamp(min=_FLAT)[:, None], deviation


def _normalised_patches(
    level: _Level, places: Tensor, offsets: Tensor, window: Tensor
) -> tuple[Tensor, Tensor]:
    """Return normalised patches (N, K) and their gradients (N, K, 2) by x and y, central differences."""
    at = places[:, None] + offsets
    values = _sample(level, at)
    normalised, deviation = _normalise(values, window)
    steps = torch.eye(2, device=places.device) / 2
    differences = [_sample(level, at + step) - _sample(level, at - step) for step in steps]
    gradient = torch.stack(differences, dim=-1) / deviation.clamp(min=_FLAT)[:, None, None]
    return normalised, gradient - (gradient * window[:, None]).sum(1, keepdim=True)
