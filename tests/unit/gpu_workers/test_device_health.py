"""What a card says of itself, and when it must take no more work."""

# The fake carries NVML's own names.
# ruff: noqa: N802

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from face3d.errors import ConfigurationError
from face3d.messages import StageResult
from face3d.options import JobOptions
from gpu_workers.engines.null.engine import NullEngine
from gpu_workers.health import HealthJudge
from gpu_workers.nvml import DeviceReading, NvmlProbe, physical_index
from gpu_workers.selftest import find_fault


class NvmlError(Exception):
    pass


class FakeNvml:
    """Stands for pynvml: one card of 80 GB, without a power sensor."""

    NVMLError = NvmlError
    NVML_TEMPERATURE_GPU = NVML_CLOCK_SM = 0
    NVML_CLOCK_MEM = 2
    NVML_MEMORY_ERROR_TYPE_CORRECTED = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0

    def __init__(self) -> None:
        self.reasons = 0
        self.errors = 0
        self.lost = False

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index > 0:
            raise NvmlError("not found")
        return index

    def nvmlDeviceGetMemoryInfo(self, _handle: int) -> Any:
        if self.lost:
            raise NvmlError("GPU is lost")
        return SimpleNamespace(used=8 * 2**30, total=80 * 2**30)

    def nvmlDeviceGetCurrentClocksEventReasons(self, _handle: int) -> int:
        return self.reasons

    def nvmlDeviceGetTemperature(self, _handle: int, _sensor: int) -> int:
        return 61

    def nvmlDeviceGetUtilizationRates(self, _handle: int) -> Any:
        return SimpleNamespace(gpu=37)

    def nvmlDeviceGetClockInfo(self, _handle: int, kind: int) -> int:
        return 2619 if kind == self.NVML_CLOCK_MEM else 1980

    def nvmlDeviceGetPowerUsage(self, _handle: int) -> int:
        raise NvmlError("not supported")

    def nvmlDeviceGetTotalEccErrors(self, _handle: int, kind: int, _counter: int) -> int:
        return self.errors if kind == self.NVML_MEMORY_ERROR_TYPE_UNCORRECTED else 5


def test_a_reading_holds_what_the_card_tells_and_leaves_out_the_rest() -> None:
    nvml = FakeNvml()
    nvml.reasons = 0x40 | 0x04
    told = NvmlProbe("cuda:0", nvml).read().describe()
    assert told["temperature"] == 61
    assert told["utilisation"] == 37
    assert (told["sm_clock_mhz"], told["memory_clock_mhz"]) == (1980, 2619)
    assert told["memory_used_percent"] == 10.0
    assert (told["ecc_uncorrected"], told["ecc_corrected"]) == (0, 5)
    assert told["throttle"] == ["hardware thermal slowdown"]
    assert "power_w" not in told


def test_a_lost_or_absent_card_is_one_sentence() -> None:
    nvml = FakeNvml()
    probe = NvmlProbe("cuda:0", nvml)
    nvml.lost = True
    with pytest.raises(ConfigurationError, match="does not answer"):
        probe.read()
    with pytest.raises(ConfigurationError, match="no device cuda:1"):
        NvmlProbe("cuda:1", nvml)


def test_devices_are_counted_as_cuda_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert physical_index("cuda:1") == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8f1")
    assert (physical_index("cuda:0"), physical_index("cuda:1")) == (3, "GPU-8f1")
    with pytest.raises(ConfigurationError):
        physical_index("cuda:2")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def reading(**values: Any) -> DeviceReading:
    return DeviceReading(memory_used_mb=0, memory_total_mb=1, **values)


def test_new_uncorrected_errors_drain_for_good_and_old_ones_do_not() -> None:
    judge = HealthJudge(throttle_seconds=60, clock=Clock())
    assert judge.judge(reading(ecc_uncorrected=2)) is None
    assert judge.judge(reading(ecc_uncorrected=2)) is None
    assert "1 uncorrected ECC" in (judge.judge(reading(ecc_uncorrected=3)) or "")
    assert judge.judge(reading(ecc_uncorrected=3)) is not None


def test_only_sustained_throttling_drains_and_it_passes() -> None:
    clock = Clock()
    judge = HealthJudge(throttle_seconds=60, clock=clock)
    hot = reading(throttle=("hardware thermal slowdown",), temperature=84)
    assert judge.judge(hot) is None
    clock.now = 59
    assert judge.judge(hot) is None
    clock.now = 60
    assert judge.judge(hot) == "throttled: hardware thermal slowdown at 84 C"
    clock.now = 61
    assert judge.judge(reading()) is not None
    clock.now = 121
    assert judge.judge(reading()) is None


def test_a_cool_moment_begins_the_count_anew() -> None:
    clock = Clock()
    judge = HealthJudge(throttle_seconds=60, clock=clock)
    hot = reading(throttle=("power brake",))
    judge.judge(hot)
    clock.now = 50
    judge.judge(reading())
    clock.now = 70
    assert judge.judge(hot) is None


def test_a_failed_self_test_stays() -> None:
    judge = HealthJudge(throttle_seconds=60)
    judge.condemn("golden self-test failed")
    judge.condemn("something later")
    assert judge.judge(reading()) == "golden self-test failed"


def test_an_engine_that_computes_wrongly_is_found(tmp_path: Any) -> None:
    assert find_fault(NullEngine(), tmp_path, largest_batch=3) is None

    class Wrong(NullEngine):
        def geometry(self, prepared: StageResult, options: JobOptions) -> StageResult:
            right = super().geometry(prepared, options)
            tensors = {
                name: tensor + 0.001 if name.endswith("positions") else tensor
                for name, tensor in right.tensors.items()
            }
            return StageResult(tensors=tensors, facts=right.facts)

    class Raising(NullEngine):
        def geometry(self, prepared: StageResult, options: JobOptions) -> StageResult:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    class WrongTogether(NullEngine):
        def geometry_batch(
            self, prepared: Sequence[StageResult], options: Sequence[JobOptions]
        ) -> list[StageResult]:
            return [Wrong().geometry(*pair) for pair in zip(prepared, options, strict=True)]

    assert find_fault(WrongTogether(), tmp_path) is None
    assert "1.000 mm off" in (find_fault(WrongTogether(), tmp_path, largest_batch=2) or "")
    assert "1.000 mm off" in (find_fault(Wrong(), tmp_path) or "")
    assert "RuntimeError" in (find_fault(Raising(), tmp_path) or "")


def test_a_sound_device_passes_annys_golden_test() -> None:
    from tests.unit.head.head_support import engine, model_dir

    assert find_fault(engine(), model_dir()) is None
