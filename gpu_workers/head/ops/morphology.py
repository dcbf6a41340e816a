"""Distances and shapes in small pictures, on CPU or CUDA; a GPU is never asked for a value.

Everything here is one operation, the least of a pixel's neighbours plus what it costs to come from there,
along rows and then columns: squares give distances (Felzenszwalb and Huttenlocher, "Distance Transforms of
Sampled Functions", 2012), magnitudes diamonds, and nothing within a radius the least of a square.
"""

import torch
from scipy.ndimage import distance_transform_edt, label
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.runtime import cuda_graphs
from gpu_workers.head.runtime.cuda_graphs import graph_constant

#: A CPU goes through the neighbours up to so far; beyond, SciPy's distance transform is faster.
_NEIGHBOURS_ON_CPU = 32
#: More than any cost or value; twice as much is a 16-bit integer, in which distances are counted.
_FAR = 15_000
#: Values that a GPU compares at once, about; more are compared some rows after others.
_AT_ONCE = 2**22
#: Times that a GPU goes along rows and then columns; faces need up to 12.
_TURNS = 24


def distance_to(target: Tensor, radius: int) -> Tensor:
    """Return the distance (..., h, w) from each pixel to the nearest true one, in pixels.

    Args:
        target: (..., h, w) bool.
        radius: what is farther is so far, 120 at most.
    """
    if cuda_graphs.waits_for_values(target) or radius <= _NEIGHBOURS_ON_CPU:
        squares = least_around(_far_from(target), _squares(radius, target.device))
        return squares.clamp_(max=radius**2).float().sqrt_()
    planes = target.reshape(-1, *target.shape[-2:]).numpy()
    found = torch.full(planes.shape, float(radius))
    for plane, distance in zip(planes, found, strict=True):
        rows, columns = plane.any(1).nonzero()[0], plane.any(0).nonzero()[0]
        if len(rows):
            # Beyond all is farther than the radius.
            near = tuple(slice(max(0, line[0] - radius), line[-1] + radius + 1) for line in (rows, columns))
            distance[near] = torch.from_numpy(distance_transform_edt(~plane[near])).float()
    return found.clamp_(max=radius).view(target.shape)


def dilate(mask: Tensor, steps: Tensor, most: int, *, outside: bool = False) -> Tensor:
    """Return a mask (..., h, w) grown by N steps to the four neighbours.

    Args:
        steps: () whole number, `most` at most.
        outside: what lies beyond the picture.
    """
    radius = most if cuda_graphs.waits_for_values(mask) else int(steps)
    costs = _magnitudes(radius, mask.device)
    return least_around(_far_from(mask), costs, outside=0 if outside else _FAR) <= steps


def close(mask: Tensor, steps: Tensor, most: int, within: Tensor) -> Tensor:
    """Return a mask (h, w) without gaps narrower than twice N steps; false outside `within`."""
    grown = dilate(mask & within, steps, most) & within
    return ~dilate(~grown, steps, most, outside=True)


def fill_holes(mask: Tensor, within: Tensor) -> Tensor:
    """Return a mask (h, w) with all that it encloses in a window."""
    ground = ~(mask & within)
    border = functional.pad(torch.zeros_like(mask[2:, 2:]), (1, 1, 1, 1), value=True)
    return ~parts_with(ground & (border | ~within), ground)


def square_costs(radius: Tensor, most: int) -> Tensor:
    """Return the costs (2 most + 1,) that make `least_around` a square's least; radius <= most."""
    return (_magnitudes(most, radius.device) > radius) * float(_FAR)


def least_around(picture: Tensor, costs: Tensor, *, outside: int = _FAR) -> Tensor:
    """Return the least of each pixel's neighbours' values with the costs of both axes added.

    Args:
        picture: (..., h, w) float32 or int16.
        costs: (2 radius + 1,) of the neighbours before, of the pixel and of those after it, symmetric; 0 for
            the pixel itself.
        outside: the value of what lies beyond the picture.
    """
    for axis in (-1, -2):
        picture = _least_along(picture, costs, axis, outside)
    return picture


def _far_from(mask: Tensor) -> Tensor:
    return (~mask).to(torch.int16).mul_(_FAR)


def _least_along(picture: Tensor, costs: Tensor, axis: int, outside: int) -> Tensor:
    radius, length = len(costs) // 2, picture.shape[axis]
    sides = (radius, radius) if axis == -1 else (0, 0, radius, radius)
    padded = functional.pad(picture, sides, value=outside)
    if not cuda_graphs.waits_for_values(picture):
        least, nearest = picture.clone(), torch.empty_like(picture)
        for step, cost in enumerate(costs[radius + 1 :].tolist(), 1):
            if cost < _FAR:
                before, after = (padded.narrow(axis, radius + way, length) for way in (-step, step))
                torch.minimum(before, after, out=nearest)
                torch.minimum(least, nearest.add_(cost), out=least)
        return least
    around = padded.unfold(axis, 2 * radius + 1, 1)
    rows = max(1, _AT_ONCE * picture.shape[-2] // around.numel())
    return torch.cat([(part + costs).amin(-1) for part in torch.split(around, rows, dim=-3)], dim=-2)


def parts_with(seeds: Tensor, mask: Tensor) -> Tensor:
    """Return the parts (h, w) of a mask, joined by the four neighbours, that hold a seed.

    On a GPU a way from a seed may turn 48 times; what lies beyond holds none.
    """
    if cuda_graphs.waits_for_values(mask):
        return spread_along_runs(seeds, mask, _TURNS)
    numbers, count = label(mask.numpy())
    numbers = torch.from_numpy(numbers)
    chosen = torch.zeros(count + 1, dtype=torch.bool)
    chosen[numbers[seeds & mask].long()] = True
    return chosen[numbers.long()] & mask


def spread_along_runs(seeds: Tensor, mask: Tensor, turns: int) -> Tensor:
    """Return what a path within a mask (h, w) reaches from the seeds, along rows and columns in turn.

    A run of a row and one of a column reach each other where they cross: a pixel is an edge between two runs.
    """
    height, width = mask.shape
    rows, columns = _steps(height, mask.device)[:, None], _steps(width, mask.device)
    # A pixel outside the mask reads a place where nothing is ever put, and adds that nothing to the run which
    # follows it: in one place for them all a GPU would add them up one after another.
    gaps = ~mask
    row_runs = gaps.cumsum(1) + rows * (width + 1)
    column_runs = gaps.cumsum(0) + columns * (height + 1)
    nowhere = [height * (width + 1), width * (height + 1)]
    in_rows, in_columns = (torch.zeros(count + 1, device=mask.device) for count in nowhere)
    read_rows, read_columns = (
        torch.where(mask, runs, count).view(-1)
        for runs, count in zip((row_runs, column_runs), nowhere, strict=True)
    )
    row_runs, column_runs = row_runs.view(-1), column_runs.view(-1)
    # Sums of what is not negative: more than zero wherever one is.
    in_rows.scatter_add_(0, row_runs, (seeds & mask).view(-1).float())
    for _ in range(turns):
        in_columns.scatter_add_(0, column_runs, in_rows[read_rows])
        in_rows.scatter_add_(0, row_runs, in_columns[read_columns])
    return in_rows[read_rows].view(mask.shape) > 0


@graph_constant(maxsize=64)
def _magnitudes(radius: int, device: torch.device) -> Tensor:
    return torch.arange(-radius, radius + 1, dtype=torch.int16).abs().to(device)


@graph_constant(maxsize=64)
def _squares(radius: int, device: torch.device) -> Tensor:
    return torch.arange(-radius, radius + 1, dtype=torch.int16).square().to(device)


@graph_constant(maxsize=64)
def _steps(count: int, device: torch.device) -> Tensor:
    return torch.arange(count).to(device)
