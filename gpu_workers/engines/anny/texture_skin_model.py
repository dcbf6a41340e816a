"""A person's own skin among the colours of a photo: a mixture of skin's, and one of all round the face.

Rother et al., "GrabCut", 2004, take the colours likewise; where they are unsure, the picture's edges decide:
He et al., "Guided image filtering", 2010.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from face3d.messages import Array
from gpu_workers.engines.anny.array_math import smoothstep_array

#: Components of either mixture; the skin's differ by light.
_SKIN_PARTS, _OTHER_PARTS = 3, 5
_ROUNDS = 4
#: Median deviations of hue within which a sample is usual.
_USUAL_HUE = 3.0
#: Samples of either that are looked at, about.
_SAMPLES = 1500
#: Least deviation of a component, CIELAB: noise and pores.
_LEAST_SPREAD = (3.5, 2.2, 2.2)
#: Deviations from the nearest component within which a colour may be skin.
_REACH = (2.6, 4.2)
#: Of the guided filter: pixels, and the variance of lightness (of 0..1) below which there is no edge.
_EDGE_RADIUS, _EDGE_NOISE = 2, 0.0016


def rate_skin(lab: Array, inside: Array, foreign: Array, mixed: Array, prior: Array) -> NDArray[np.float32]:
    """Return (h, w) in 0..1: how much a pixel's colour is this person's skin.

    Args:
        lab: (3, h, w) CIELAB.
        inside: (h, w) bool: surely skin for the most part.
        foreign: (h, w) bool: mostly something else.
        mixed: (h, w) bool: skin and something else.
        prior: (h, w) in 0..1 for a colour that fits both.
    """
    height, width = inside.shape
    pixels = lab.reshape(3, -1).T.astype(np.float32)
    skin = _fit(_subsample(_without_outliers(pixels[inside.ravel()])), _SKIN_PARTS)
    distance, fits_skin = _measure(pixels, skin)
    near = smoothstep_array((_REACH[1] - distance) / (_REACH[1] - _REACH[0]))
    others = foreign.ravel() | mixed.ravel() & (near < 0.5)
    rating = near
    if others.sum() > 4 * _OTHER_PARTS:
        _, fits_other = _measure(pixels, _fit(_subsample(pixels[others]), _OTHER_PARTS))
        expected = prior.ravel()
        odds = np.clip(fits_skin - fits_other, -30, 30) + np.log((expected + 1e-3) / (1 - expected + 1e-3))
        rating = near / (1 + np.exp(-odds))
    return _follow_edges(rating.reshape(height, width).astype(np.float32), lab[0] / np.float32(100))


_Mixture = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def _without_outliers(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return samples of the usual hue: a lock of hair over the cheek is none of the skin's."""
    moved = np.abs(samples[:, 1:] - np.median(samples[:, 1:], axis=0))
    usual = (moved < _USUAL_HUE * np.median(moved, axis=0) + 1).all(1)
    return samples[usual] if usual.sum() >= 8 else samples


def _subsample(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    return samples[:: max(1, len(samples) // _SAMPLES)]


def _fit(samples: NDArray[np.float32], parts: int) -> _Mixture:
    """Return means (K, 3), inverse covariances' factors (K, 3, 3), logarithms of weight over volume (K,)."""
    order = np.argsort(samples[:, 0], kind="stable")
    owner = np.empty(len(samples), np.int64)
    owner[order] = np.arange(len(samples)) * parts // len(samples)
    for _ in range(_ROUNDS):
        mixture = _describe(samples, owner, parts)
        owner = _distances(samples, mixture).argmax(1)
    return mixture


def _describe(samples: NDArray[np.float32], owner: NDArray[np.int64], parts: int) -> _Mixture:
    means, factors, weights = [], [], []
    floor = np.diag(np.square(_LEAST_SPREAD))
    for part in range(parts):
        own = samples[owner == part]
        if len(own) < 8:
            own = samples
        centre = np.median(own, axis=0)
        moved = own - centre
        # Outliers (a hair, a mole) count as far as the rest reaches.
        limit = 2.5 * 1.4826 * np.median(np.abs(moved), axis=0) + 1e-3
        moved = np.clip(moved, -limit, limit)
        covariance = moved.T @ moved / len(own) + floor
        factor = np.linalg.cholesky(np.linalg.inv(covariance))
        means.append(centre)
        factors.append(factor)
        weights.append(np.log((owner == part).mean() + 1e-3) + np.log(np.diag(factor)).sum())
    return np.array(means, np.float32), np.array(factors, np.float32), np.array(weights, np.float32)


def _distances(pixels: NDArray[np.float32], mixture: _Mixture) -> NDArray[np.float32]:
    """Return (P, K) logarithms of the components' densities, but for a constant."""
    means, factors, weights = mixture
    # One product for all components: (x - m)^T P (x - m) is linear in the products and values of x. About
    # the middle of the means, so that single precision suffices.
    middle = means.mean(0)
    x, y, z = (pixels - middle).T
    terms = np.stack([x * x, y * y, z * z, x * y, x * z, y * z, x, y, z])
    precision = factors @ factors.transpose(0, 2, 1)
    pulls = np.einsum("kij,kj->ki", precision, means - middle)
    squares = precision[:, [0, 1, 2], [0, 1, 2]]
    mixed = precision[:, [0, 0, 1], [1, 2, 2]]
    factor = np.concatenate([squares, 2 * mixed, -2 * pulls], 1)
    offset = weights - 0.5 * ((means - middle) * pulls).sum(1)
    return np.asarray(offset - 0.5 * (factor @ terms).T, np.float32)


def _measure(
    pixels: NDArray[np.float32], mixture: _Mixture
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (P,) deviations from the nearest component, and logarithms of the mixture's density."""
    logs = _distances(pixels, mixture)
    best = logs.max(1)
    deviation = np.sqrt(2 * np.maximum(mixture[2] - logs, 0)).min(1)
    return deviation, best + np.log(np.exp(logs - best[:, None]).sum(1))


def _follow_edges(rating: NDArray[np.float32], guide: NDArray[np.float32]) -> NDArray[np.float32]:
    def mean(picture: NDArray[Any]) -> NDArray[np.float32]:
        smooth: NDArray[np.float32] = uniform_filter(picture, 2 * _EDGE_RADIUS + 1, mode="nearest")
        return smooth

    middle, level = mean(guide), mean(rating)
    slope = (mean(guide * rating) - middle * level) / (mean(guide * guide) - middle * middle + _EDGE_NOISE)
    offset = level - slope * middle
    followed: NDArray[np.float32] = np.clip(mean(slope) * guide + mean(offset), 0, 1)
    return followed
