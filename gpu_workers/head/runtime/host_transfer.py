"""Between host and device: inputs in, results out, and images on their way to a file.

Page-locked memory on the host is what a device copies from and to without the host waiting.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_workers.head.runtime.structures import list_tensors, map_tensors

Result = TypeVar("Result")

#: PNG filter type "up": each byte less the one above it (PNG specification, 9.2).
_FILTER_UP = 2


class Staging:
    """Host memory from which the same bytes (N,) of a device are filled again and again.

    Args:
        target: uint8; on a CPU it is filled from plain memory.
    """

    def __init__(self, target: Tensor) -> None:
        self._target = target
        #: (N,) uint8: write here after `wait`.
        self.host = torch.empty(target.shape, dtype=torch.uint8, pin_memory=target.is_cuda)
        self._read: torch.cuda.Event | None = None

    def wait(self) -> None:
        """Wait until the device has read what was sent last."""
        if self._read is not None:
            self._read.synchronize()

    def send(self) -> None:
        """Copy the host's bytes to the target on the current stream, without waiting."""
        self._target.copy_(self.host, non_blocking=True)
        if self._target.is_cuda:
            if self._read is None:
                self._read = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._read.record(torch.cuda.current_stream(self._target.device))


def to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Return an array on a device; to a GPU through page-locked memory, without waiting."""
    host = torch.from_numpy(array if array.flags.writeable else array.copy())
    if device.type == "cpu":
        return host
    if not host.is_pinned():
        host = torch.empty(host.shape, dtype=host.dtype, pin_memory=True).copy_(host)
    return host.to(device, non_blocking=True)


def page_locked_bytes(size: int) -> NDArray[np.uint8]:
    """Return uninitialised bytes that a GPU reads without a copy between."""
    return torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()


def to_host(value: Result) -> Result:
    """Return a structure of tensors on the CPU; a GPU's through page-locked memory, which they keep.

    The host waits once, for the current stream.
    """
    device = next((tensor.device for tensor in list_tensors(value) if tensor.is_cuda), None)
    if device is None:
        return value
    copied = map_tensors(_start_copy, value)
    torch.cuda.current_stream(device).synchronize()
    return copied


def _start_copy(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        return tensor
    target = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return target.copy_(tensor, non_blocking=True)


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
