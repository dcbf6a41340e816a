"""Triton where it is installed: kernels are written for it, and plain torch is their reference."""

import torch

try:
    import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
    import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError:  # CPU-only machines
    triton = tl = None

__all__ = ["tl", "triton", "triton_available"]


def triton_available(device: torch.device) -> bool:
    """Tell whether kernels run on a device; by its interpreter Triton runs them on a CPU, for tests only."""
    return triton is not None and device.type == "cuda"
