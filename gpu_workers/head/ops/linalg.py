"""Small operations on tensors that several modules of the engine share; none waits for the device."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor


def send(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Return an array as a constant on a device."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def solve_positive(matrix: Tensor, right: Tensor) -> Tensor:
    """Return x (B, N) with matrix x = right for positive definite matrices (B, N, N)."""
    # The variant that does not look for errors, which would wait for the device.
    factor = torch.linalg.cholesky_ex(matrix, check_errors=False).L
    return torch.cholesky_solve(right[..., None], factor)[..., 0]


def box_centre(positions: Tensor) -> Tensor:
    """Return the middle (..., 3) of the box around points (..., V, 3)."""
    low, high = torch.aminmax(positions, dim=-2)
    return 0.5 * (low + high)


class SparseRows:
    """A constant sparse matrix (N, M) of float32 whose rows have about as many entries each.

    Args:
        matrix: its rows are filled up with zeros to the longest one's length.
    """

    def __init__(self, matrix: sp.csr_matrix, device: torch.device) -> None:
        counts = torch.from_numpy(matrix.indptr).diff()
        place = torch.arange(int(counts.max())) < counts[:, None]
        self._columns = torch.zeros(place.shape, dtype=torch.int64)
        self._columns[place] = torch.from_numpy(matrix.indices).long()
        self._weights = torch.zeros(place.shape)
        self._weights[place] = torch.from_numpy(matrix.data).float()
        self._columns, self._weights = self._columns.to(device), self._weights.to(device)

    def __matmul__(self, values: Tensor) -> Tensor:
        """Return the product (N, C) with a float32 tensor (M, C)."""
        return torch.nn.functional.embedding_bag(
            self._columns, values, mode="sum", per_sample_weights=self._weights
        )


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Arrays that travel as one (B, total) tensor: one copy each way."""

    shapes: tuple[tuple[int, ...], ...]

    @property
    def total(self) -> int:
        """Numbers of all arrays of one row."""
        return sum(torch.Size(shape).numel() for shape in self.shapes)

    def split(self, packed: Tensor) -> list[Tensor]:
        """Return views of a (B, total) tensor."""
        counts = [torch.Size(shape).numel() for shape in self.shapes]
        parts = torch.split(packed, counts, dim=1)
        return [part.reshape(len(packed), *shape) for part, shape in zip(parts, self.shapes, strict=True)]


def pack(values: list[Tensor]) -> Tensor:
    """Return tensors (B, ...) as one (B, total)."""
    return torch.cat([value.reshape(len(value), -1) for value in values], dim=1)
