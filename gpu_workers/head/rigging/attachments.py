"""Parts that hang on others: corneas on eyeballs, lashes on lids. They follow whatever moved their hosts."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_workers.head.model.head_template import HeadData, PartData


@dataclass(frozen=True)
class _Alike:
    """E parts of V vertices on H hosts each; row numbers are those of the list of all vertices."""

    #: (E, V) and (E, H).
    rows: Tensor
    hosts: Tensor
    #: (E, V, H) float64.
    weights: Tensor
    #: Lashes: (E, 2) the poles of the eyeball beneath, (E, V, 3) float64 offsets on the template, and there
    #: (E, V, 3) the roots and (E, 3) the eyeballs' centres.
    poles: Tensor | None
    offsets: Tensor
    roots: Tensor
    centres: Tensor


class BoundParts:
    """Places the bound parts of heads of one topology; never waits for the device.

    Args:
        template: (V, 3) metres, the head on which lashes lie as they were drawn.
        device: of all tensors.
    """

    def __init__(self, data: HeadData, template: NDArray[np.floating], device: torch.device) -> None:
        alike: dict[tuple[tuple[int, ...], ...], list[PartData]] = {}
        for part in data.parts:
            if len(part.host_vertices):
                alike.setdefault((part.host_weights.shape, part.host_offsets.shape), []).append(part)
        self._groups = [_join(data, template, parts, device) for parts in alike.values()]

    def bind(self, neutral: Tensor, deltas: Tensor) -> None:
        """Put the bound parts where their hosts take them, in place.

        Args:
            neutral: (V, 3) float64 metres; what rows of bound parts hold is ignored.
            deltas: (52 + C, V, 3) float32 metres, likewise.
        """
        for group in self._groups:
            parts, hosts = group.hosts.shape
            roots = group.weights @ neutral[group.hosts]
            by_host = deltas[:, group.hosts.view(-1)].permute(1, 0, 2).reshape(parts, hosts, -1)
            moves = (group.weights.float() @ by_host).view(parts, -1, len(deltas), 3).permute(2, 0, 1, 3)
            if group.poles is not None:
                # The poles lie across the centre from each other.
                centres = neutral[group.poles].mean(1)
                poses = torch.cat([group.roots[None], roots[None], roots + moves])
                moved_poles = deltas[:, group.poles.view(-1)].view(len(deltas), parts, 2, 3)
                turning = torch.cat([group.centres[None], centres[None], centres + moved_poles.mean(2)])
                # The pose at rest is the one that the offsets were drawn in.
                placed = poses + follow_lids(poses, turning, group.offsets)
                roots, moves = placed[1], placed[2:] - placed[1]
            rows = group.rows.view(-1)
            neutral.index_copy_(0, rows, roots.view(-1, 3))
            deltas.index_copy_(1, rows, moves.float().reshape(len(deltas), -1, 3))


def _join(
    data: HeadData, positions: NDArray[np.floating], parts: list[PartData], device: torch.device
) -> _Alike:
    def send(arrays: list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> Tensor:
        stacked = np.stack(arrays)
        number = np.float64 if stacked.dtype.kind == "f" else np.int64
        return torch.from_numpy(stacked.astype(number)).to(device)

    hosts = send([part.host_vertices for part in parts])
    weights = send([part.host_weights for part in parts])
    template = torch.from_numpy(positions.astype(np.float64)).to(device)
    offsets = send([part.host_offsets for part in parts])
    poles = None
    centres = template[:0]
    if offsets.numel():
        eyes = [data.part(f"eye_{part.name.rsplit('_', 1)[1]}").vertices for part in parts]
        # An eyeball's last two vertices (eyeballs.py).
        poles = send([np.arange(eye.stop - 2, eye.stop) for eye in eyes])
        centres = template[poles].mean(1)
    return _Alike(
        rows=send([np.arange(part.first, part.first + part.count) for part in parts]),
        hosts=hosts,
        weights=weights,
        poles=poles,
        offsets=offsets,
        roots=weights @ template[hosts],
        centres=centres,
    )


def follow_lids(roots: Tensor, centres: Tensor, offsets: Tensor) -> Tensor:
    """Turn lashes' offsets with their roots about the eyeball.

    Args:
        roots: (P, ..., V, 3) of P poses, the first the one that `offsets` belong to.
        centres: (P, ..., 3) of the eyeballs in each pose.
        offsets: (..., V, 3).
    Returns:
        (P, ..., V, 3).
    """
    arms = roots - centres[..., None, :]
    arms = arms / arms.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    start = arms[:1]
    # The smallest turn from one unit vector to another: R = I + [w] + [w]^2 / (1 + c), w = a x b, c = a . b.
    axis = torch.linalg.cross(start, arms)
    cosine = (start * arms).sum(-1, keepdim=True)
    once = torch.linalg.cross(axis, offsets[None])
    turned: Tensor = offsets + once + torch.linalg.cross(axis, once) / (1 + cosine)
    return turned
