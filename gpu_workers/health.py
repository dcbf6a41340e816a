"""What a device says of itself, by NVML where there is one."""

import os
from typing import Any

import psutil

from face3d.errors import ConfigurationError
from gpu_workers.types import GpuType, gpu_type, match_device_name


def count_gpus() -> int:
    """Return how many NVIDIA GPUs this machine has; 0 without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return 0
    try:
        return int(pynvml.nvmlDeviceGetCount())
    finally:
        pynvml.nvmlShutdown()


def detect_gpu_type(device: str) -> GpuType:
    """Return the GPU type of a device, `cpu` or `cuda:<index>`.

    Raises:
        ConfigurationError: the device is absent, or of a type that the table lacks.
    """
    if device == "cpu":
        return gpu_type("cpu")
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise ConfigurationError(f"No NVIDIA driver answers, so device {device} cannot be used.") from error
    try:
        name = str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(_index(device))))
    except pynvml.NVMLError as error:
        raise ConfigurationError(f"There is no device {device}.") from error
    finally:
        pynvml.nvmlShutdown()
    found = match_device_name(name)
    if found is None:
        raise ConfigurationError(
            f"Device {device} is a {name!r}, which the table of GPU types lacks: set FACE3D_GPU_TYPE."
        )
    return found


def _index(device: str) -> int:
    _, _, number = device.partition(":")
    return int(number or 0)


def read_memory_mb(device: str) -> float:
    """Return a device's total memory, MB."""
    if device == "cpu":
        return float(psutil.virtual_memory().total / 2**20)
    import pynvml

    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(_index(device))
        return float(pynvml.nvmlDeviceGetMemoryInfo(handle).total / 2**20)
    finally:
        pynvml.nvmlShutdown()


def read_health(device: str) -> dict[str, Any]:
    """Return what the heartbeat tells of a device: load, memory, temperature where it is known."""
    if device == "cpu":
        memory = psutil.virtual_memory()
        return {"load": os.getloadavg()[0], "memory_used_percent": memory.percent}
    import pynvml

    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(_index(device))
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "temperature": pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
            "utilisation": pynvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "memory_used_percent": round(100 * memory.used / memory.total, 1),
            "sm_clock_mhz": pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
        }
    finally:
        pynvml.nvmlShutdown()
