"""A device's image on its way out: rows filtered for PNG, copied band by band; JPEG made on the GPU."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: PNG filter type "up": each byte less the one above it (PNG specification, 9.2).
_FILTER_UP = 2


@dataclass(frozen=True)
class HostBand:
    """Some rows on their way to the host."""

    rows: NDArray[np.uint8]
    _copied: torch.cuda.Event | None

    def wait(self) -> NDArray[np.uint8]:
        """Return the rows (R, 1 + 3 W) once they are there."""
        if self._copied is not None:
            self._copied.synchronize()
        return self.rows


def send_filtered_bands(image: Tensor, count: int) -> Iterator[HostBand]:
    """Yield the PNG-filtered rows of an image, each band when its copy to the host has been started.

    Args:
        image: (H, W, 3) uint8; it may be written anew on the same stream when the last band has been yielded.
        count: bands of about equal height, in order.
    """
    height, width = image.shape[:2]
    rows = image.view(height, 3 * width)
    filtered = torch.empty(height, 1 + 3 * width, dtype=torch.uint8, device=image.device)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    torch.sub(rows[1:], rows[:-1], out=filtered[1:, 1:])
    edges = [height * i // count for i in range(count + 1)]
    if not image.is_cuda:
        yield from (HostBand(filtered[a:b].numpy(), None) for a, b in itertools.pairwise(edges))
        return
    target = torch.empty(filtered.shape, dtype=torch.uint8, pin_memory=True)
    host = target.numpy()
    for start, stop in itertools.pairwise(edges):
        target[start:stop].copy_(filtered[start:stop], non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        yield HostBand(host[start:stop], event)


def encode_jpeg_on_device(image: Tensor, quality: int = 95) -> bytes | None:
    """Return the 4:4:4 JPEG of an (H, W, 3) uint8 image on a GPU; None where nothing there can make one."""
    encode = _find_jpeg_encoder() if image.is_cuda else None
    if encode is None:
        return None
    encoded: Tensor = encode(image.permute(2, 0, 1).contiguous(), quality=quality)
    return encoded.cpu().numpy().tobytes()


@cache
def _find_jpeg_encoder() -> Any:
    try:
        from torchvision.io import encode_jpeg  # type: ignore[import-not-found,unused-ignore]
    except (ImportError, RuntimeError):
        return None
    return encode_jpeg
