"""The table of GPU types: what a worker can be bound to, and how to recognise one by NVML's name.

Memory, bandwidth and tensor peak (dense FP16) are published figures; each row names its source. They serve
as the router's prior for cards that were never measured here. How each type works is in profiles.py.
"""

import os
import re
from dataclasses import dataclass

from face3d.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class GpuType:
    """A kind of device that queues are bound to."""

    name: str
    #: Matched against NVML's device name, case ignored; more specific types stand first in the table.
    pattern: str
    memory_gb: float
    #: GB/s.
    bandwidth: float
    #: Dense FP16 tensor TFLOPS.
    tflops: float
    ecc: bool
    link: str
    #: Where the figures stand.
    source: str
    #: From here on the card throttles, Celsius; None: not known.
    throttles_from: float | None = None


_TABLE: tuple[GpuType, ...] = (
    GpuType(name="a100", pattern=r"\bA100\b", memory_gb=80, bandwidth=2039, tflops=312, ecc=True,
            link="PCIe 4, NVLink", source="NVIDIA A100 80GB data sheet (SXM)"),
    GpuType(name="a800", pattern=r"\bA800\b", memory_gb=80, bandwidth=2039, tflops=312, ecc=True,
            link="PCIe 4, NVLink limited", source="docs/design.md section 6; as the A100 but for NVLink"),
    GpuType(name="h200", pattern=r"\bH200\b", memory_gb=141, bandwidth=4800, tflops=989, ecc=True,
            link="PCIe 5, NVLink", source="NVIDIA H200 data sheet (SXM), half of the sparse figure"),
    GpuType(name="h100", pattern=r"\bH100\b", memory_gb=80, bandwidth=3350, tflops=989, ecc=True,
            link="PCIe 5, NVLink", source="NVIDIA H100 data sheet (SXM), half of the sparse figure"),
    GpuType(name="v100", pattern=r"\bV100\b", memory_gb=32, bandwidth=900, tflops=125, ecc=True,
            link="PCIe 3", source="docs/design.md section 6", throttles_from=80),
    GpuType(name="l40s", pattern=r"\bL40S\b", memory_gb=48, bandwidth=864, tflops=362, ecc=True,
            link="PCIe 4", source="NVIDIA L40S data sheet, without sparsity"),
    GpuType(name="l4", pattern=r"\bL4\b", memory_gb=24, bandwidth=300, tflops=121, ecc=True,
            link="PCIe 4", source="NVIDIA L4 data sheet, half of the sparse figure"),
    GpuType(name="t4", pattern=r"\bT4\b", memory_gb=16, bandwidth=320, tflops=65, ecc=True,
            link="PCIe 3", source="docs/design.md section 6", throttles_from=75),
)  # fmt: skip

_CPU = GpuType(
    name="cpu", pattern=r"$^", memory_gb=0, bandwidth=20, tflops=0.5, ecc=False, link="none",
    source="a guess of this project: two cores of a server",
)  # fmt: skip

GPU_TYPES: dict[str, GpuType] = {gpu.name: gpu for gpu in (*_TABLE, _CPU)}

#: The bake is bound by bandwidth, so that is what a prior scales with; the A100 is the reference.
_REFERENCE = GPU_TYPES["a100"]


def gpu_type(name: str) -> GpuType:
    """Return the type of that name.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        return GPU_TYPES[name]
    except KeyError as error:
        raise ConfigurationError(f"Unknown GPU type {name!r}; known: {', '.join(GPU_TYPES)}.") from error


def match_device_name(device_name: str) -> GpuType | None:
    """Return the type that NVML's device name belongs to, or None."""
    for gpu in _TABLE:
        if re.search(gpu.pattern, device_name, re.IGNORECASE):
            return gpu
    return None


def relative_speed(name: str) -> float:
    """Return a type's published bandwidth as a share of the A100's; unknown names count as `cpu`."""
    return GPU_TYPES.get(name, _CPU).bandwidth / _REFERENCE.bandwidth


def cpu_slots(cores: int | None = None, memory_gb: float | None = None) -> int:
    """Return how many stages a CPU worker runs at once: one a core, and 4 GB of memory each."""
    cores = cores or len(os.sched_getaffinity(0))
    if memory_gb is None:
        memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(cores, int(memory_gb // 4)))
