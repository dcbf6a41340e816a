"""What NVIDIA's management library says of a card: the only file that calls it.

NVML counts cards by PCI bus and knows nothing of CUDA_VISIBLE_DEVICES; `physical_index` joins the two.
Workers run with CUDA_DEVICE_ORDER=PCI_BUS_ID, so that both count the same way.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from face3d.errors import ConfigurationError

#: Bits of nvmlDeviceGetCurrentClocksEventReasons that mean trouble; a power cap at full load is none.
THROTTLE_REASONS: dict[int, str] = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


@dataclass(frozen=True, kw_only=True)
class DeviceReading:
    """One look at a device; None where the card does not tell."""

    memory_used_mb: float
    memory_total_mb: float
    #: Celsius.
    temperature: float | None = None
    #: Share of the last sample period in which a kernel ran, per cent.
    utilisation: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    power_w: float | None = None
    #: Reasons of trouble that hold the clocks down now.
    throttle: tuple[str, ...] = ()
    #: Uncorrected memory errors since the driver was loaded.
    ecc_uncorrected: int | None = None
    ecc_corrected: int | None = None

    def describe(self) -> dict[str, Any]:
        """Return the JSON of a heartbeat; what is not known is left out."""
        values = asdict(self) | {"throttle": list(self.throttle)}
        used = round(100 * self.memory_used_mb / self.memory_total_mb, 1) if self.memory_total_mb else 0.0
        known = {name: value for name, value in values.items() if value is not None}
        return known | {"memory_used_percent": used}


class DeviceProbe(Protocol):
    """Reads one device."""

    def read(self) -> DeviceReading:
        """Look at the device; raises ConfigurationError when it does not answer."""


def physical_index(device: str) -> int | str:
    """Return NVML's index, or the UUID, of `cuda:<index>` under CUDA_VISIBLE_DEVICES."""
    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not visible:
        return index
    names = [name.strip() for name in visible.split(",")]
    if index >= len(names):
        raise ConfigurationError(f"There is no device {device}: CUDA_VISIBLE_DEVICES names {len(names)}.")
    name = names[index]
    return int(name) if name.isdigit() else name


@contextmanager
def _nvml() -> Iterator[Any]:
    """Initialise the library; it counts its users."""
    nvml = _initialise()
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _initialise(nvml: Any = None) -> Any:
    """Return `pynvml`, or what stands for it, ready for use."""
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise ConfigurationError("No NVIDIA driver answers.") from error
    return nvml


def _handle(nvml: Any, device: str) -> Any:
    place = physical_index(device)
    try:
        if isinstance(place, str):
            return nvml.nvmlDeviceGetHandleByUUID(place)
        return nvml.nvmlDeviceGetHandleByIndex(place)
    except nvml.NVMLError as error:
        raise ConfigurationError(f"There is no device {device}.") from error


def count_gpus() -> int:
    """Return how many NVIDIA GPUs this process may use; 0 without a driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        with _nvml() as nvml:
            count = int(nvml.nvmlDeviceGetCount())
    except ConfigurationError:
        return 0
    return (
        count if visible is None else min(count, len([name for name in visible.split(",") if name.strip()]))
    )


def read_name(device: str) -> str:
    """Return a card's product name.

    Raises:
        ConfigurationError: there is no driver or no such device.
    """
    with _nvml() as nvml:
        return str(nvml.nvmlDeviceGetName(_handle(nvml, device)))


class NvmlProbe:
    """Reads one NVIDIA card; keeps the library initialised.

    Args:
        nvml: `pynvml`, or what stands for it.
    Raises:
        ConfigurationError: there is no driver or no such device.
    """

    def __init__(self, device: str, nvml: Any = None) -> None:
        self._nvml = _initialise(nvml)
        self._device = device
        self._handle = _handle(self._nvml, device)

    def read(self) -> DeviceReading:
        """Look at the card."""
        nvml, handle = self._nvml, self._handle
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError as error:
            raise ConfigurationError(f"Device {self._device} does not answer.") from error
        bits = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)) or 0
        return DeviceReading(
            memory_used_mb=round(memory.used / 2**20, 1),
            memory_total_mb=round(memory.total / 2**20, 1),
            temperature=self._ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            utilisation=self._ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            sm_clock_mhz=self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            memory_clock_mhz=self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
            power_w=self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000),
            throttle=tuple(name for bit, name in THROTTLE_REASONS.items() if int(bits) & bit),
            ecc_uncorrected=self._count_errors("NVML_MEMORY_ERROR_TYPE_UNCORRECTED"),
            ecc_corrected=self._count_errors("NVML_MEMORY_ERROR_TYPE_CORRECTED"),
        )

    def _count_errors(self, kind: str) -> int | None:
        nvml = self._nvml
        count = self._ask(
            lambda: nvml.nvmlDeviceGetTotalEccErrors(
                self._handle, getattr(nvml, kind), nvml.NVML_VOLATILE_ECC
            )
        )
        return None if count is None else int(count)

    def _ask(self, question: Callable[[], float]) -> float | None:
        """Return the answer, or None where the card has none (no sensor, no ECC, no right)."""
        with contextlib.suppress(self._nvml.NVMLError):
            return question()
        return None
