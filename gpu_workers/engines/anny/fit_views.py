"""Several photos of one person fitted together: one shape, and each photo's own pose and expression."""

import torch

from gpu_workers.engines.anny.fit import (
    STEPS,
    Fit,
    bounded_step,
    finish_fit,
    fit_landmarks,
    start_fit,
)
from gpu_workers.engines.anny.fit_basis import DTYPE, FitBasis
from gpu_workers.engines.anny.fit_equations import normal_equations
from gpu_workers.engines.anny.observation import Observation
from gpu_workers.engines.anny.pose import Pose, rotation_matrix


def fit_views(basis: FitBasis, seen: Observation) -> Fit:
    """Fit one person to V photos of them.

    The cost is the sum of the photos' own (see fit.py), with identity and local changes in common and their
    priors counted once.

    Args:
        seen: V photos, tensors of float64 on the basis's device.
    Returns:
        V rows; identity and local changes are the same in all.
    """
    views = len(seen.landmarks)
    if views == 1:
        return fit_landmarks(basis, seen)
    device, shape = basis.device, basis.expression.start
    expressions = basis.size - shape
    target, _ = start_fit(basis, seen)
    # Each photo alone says well where it was taken from.
    pose = fit_landmarks(basis, seen).pose
    coefficients = target.clone()
    # Places of a photo's 6 + N unknowns among those of all photos: poses, the shape, expressions.
    places = [
        torch.cat(
            [
                torch.arange(6 * view, 6 * view + 6),
                torch.arange(6 * views, 6 * views + shape),
                torch.arange(expressions) + 6 * views + shape + expressions * view,
            ]
        ).to(device)
        for view in range(views)
    ]
    total = 6 * views + shape + expressions * views
    low, high = (torch.cat([bound[:shape], bound[shape:].repeat(views)]) for bound in basis.bounds)
    for _ in range(STEPS):
        points = basis.points(coefficients)
        normals, gradients = normal_equations(basis, seen, pose, points)
        normal = torch.zeros(1, total, total, dtype=DTYPE, device=device)
        gradient = torch.zeros(1, total, dtype=DTYPE, device=device)
        for view, place in enumerate(places):
            pull = (target[view] - coefficients[view]) @ basis.prior
            prior = basis.prior.clone()
            if view:
                prior[:shape], prior[:, :shape], pull[:shape] = 0, 0, 0
            normals[view, 6:, 6:] += prior
            gradients[view, 6:] += pull
            normal[0, place[:, None], place] += normals[view]
            gradient[0, place] += gradients[view]
        together = torch.cat([coefficients[0, :shape], coefficients[:, shape:].reshape(-1)])[None]
        move = bounded_step(normal, gradient, together, (low, high))[0]
        moves = torch.stack([move[place] for place in places])
        coefficients = coefficients + moves[:, 6:]
        pose = Pose(rotation_matrix(moves[:, :3]) @ pose.rotation, pose.translation + moves[:, 3:6])
    return finish_fit(basis, seen, pose, coefficients)
