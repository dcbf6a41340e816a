"""How a device is: its type, its readings, and whether it may go on working."""

import os
import time
from collections.abc import Callable
from typing import Any

import psutil

from face3d.errors import ConfigurationError
from gpu_workers.gpu_catalog import GpuType, gpu_type, match_device_name
from gpu_workers.nvml import DeviceProbe, DeviceReading, NvmlProbe, read_name


def detect_gpu_type(device: str) -> GpuType:
    """Return the GPU type of a device, `cpu` or `cuda:<index>`.

    Raises:
        ConfigurationError: the device is absent, or of a type that the table lacks.
    """
    if device == "cpu":
        return gpu_type("cpu")
    name = read_name(device)
    found = match_device_name(name)
    if found is None:
        raise ConfigurationError(
            f"Device {device} is a {name!r}, which the table of GPU types lacks: set FACE3D_GPU_TYPE."
        )
    return found


class HostProbe:
    """Reads the machine itself, for workers without a GPU."""

    def read(self) -> DeviceReading:
        """Look at the memory; load is added by `describe_host`."""
        memory = psutil.virtual_memory()
        return DeviceReading(
            memory_used_mb=round((memory.total - memory.available) / 2**20, 1),
            memory_total_mb=round(memory.total / 2**20, 1),
        )


def open_probe(device: str) -> DeviceProbe:
    """Return what reads a device.

    Raises:
        ConfigurationError: there is no driver or no such device.
    """
    return HostProbe() if device == "cpu" else NvmlProbe(device)


def read_memory_mb(device: str) -> float:
    """Return a device's total memory, MB."""
    return open_probe(device).read().memory_total_mb


def describe_host() -> dict[str, Any]:
    """Return the load of the machine and the resident memory of this process's tree, MB."""
    process = psutil.Process()
    resident = 0
    for one in (process, *process.children(recursive=True)):
        try:
            resident += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return {"load": round(os.getloadavg()[0], 2), "resident_mb": round(resident / 2**20, 1)}


class HealthJudge:
    """Says when a device must take no more work, and when it may again.

    Uncorrected memory errors and a failed self-test hold until the worker is started anew; throttling passes
    when the clocks have been free for as long as they were held down.

    Args:
        throttle_seconds: how long clocks may be held down before it counts.
    """

    def __init__(self, *, throttle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._throttle_seconds = throttle_seconds
        self._clock = clock
        self._first_errors: int | None = None
        self._fault: str | None = None
        self._hot_since: float | None = None
        self._cool_since: float | None = None
        self._throttled: str | None = None

    def condemn(self, reason: str) -> None:
        """Hold a fault until the process ends; the first one stays."""
        self._fault = self._fault or reason

    def judge(self, reading: DeviceReading) -> str | None:
        """Return why the device must take no more work now, or None."""
        if reading.ecc_uncorrected is not None:
            if self._first_errors is None:
                self._first_errors = reading.ecc_uncorrected
            grown = reading.ecc_uncorrected - self._first_errors
            if grown > 0:
                self.condemn(f"{grown} uncorrected ECC errors since this worker started")
        self._watch_clocks(reading)
        return self._fault or self._throttled

    def _watch_clocks(self, reading: DeviceReading) -> None:
        now = self._clock()
        if reading.throttle:
            self._cool_since = None
            self._hot_since = now if self._hot_since is None else self._hot_since
            if now - self._hot_since >= self._throttle_seconds:
                heat = "" if reading.temperature is None else f" at {reading.temperature:.0f} C"
                self._throttled = f"throttled: {', '.join(reading.throttle)}{heat}"
            return
        self._cool_since = now if self._cool_since is None else self._cool_since
        self._hot_since = None
        if now - self._cool_since >= self._throttle_seconds:
            self._throttled = None
