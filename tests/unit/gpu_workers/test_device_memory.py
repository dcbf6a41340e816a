"""Admission by memory, and what an engine without memory does to a job."""

import threading
from collections.abc import Sequence

import pytest

from face3d.errors import OutOfDeviceMemory
from face3d.messages import StageResult
from face3d.options import JobOptions, parse_options
from face3d.states import StageName
from gpu_workers.engines.null.engine import NullEngine
from gpu_workers.executor import DeviceExecutor
from gpu_workers.memory import MemoryBudget, PeakTable, is_out_of_memory
from gpu_workers.profiles import profile_of

PREPARED = StageResult()


class HungryEngine(NullEngine):
    """Runs out of memory unless the options are light enough."""

    def __init__(self, *, fits: str) -> None:
        self.fits = fits
        self.tried: list[JobOptions] = []

    def _eat(self, options: JobOptions) -> None:
        self.tried.append(options)
        enough = {
            "never": False,
            "second": len(self.tried) > 1,
            "not sharpened": not options.sharpen,
            "small": options.input_size <= 960,
        }
        if not enough[self.fits]:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def geometry(self, prepared: StageResult, options: JobOptions) -> StageResult:
        self._eat(options)
        return super().geometry(prepared, options)

    def texture(self, prepared: StageResult, geometry: StageResult, options: JobOptions) -> StageResult:
        self._eat(options)
        return super().texture(prepared, geometry, options)


def bake(engine: HungryEngine, stated: Sequence[str] = ()) -> JobOptions:
    return DeviceExecutor(budget_mb=2000).texture(engine, PREPARED, PREPARED, JobOptions(), stated).options


def test_the_same_again_alone_is_tried_first() -> None:
    assert bake(HungryEngine(fits="second")) == JobOptions()


def test_then_lighter_options_and_the_run_says_which() -> None:
    assert bake(HungryEngine(fits="not sharpened")).sharpen is False
    light = bake(HungryEngine(fits="small"))
    assert (light.input_size, light.sharpen, light.texture_size) == (960, False, 4096)


def test_what_the_caller_stated_stays() -> None:
    engine = HungryEngine(fits="not sharpened")
    with pytest.raises(OutOfDeviceMemory):
        bake(engine, stated=["sharpen"])
    assert all(options.sharpen and options.texture_size == 4096 for options in engine.tried)


def test_the_worker_goes_on_after_a_job_that_never_fits() -> None:
    executor = DeviceExecutor(budget_mb=2000, largest_batch=2)
    with pytest.raises(OutOfDeviceMemory):
        executor.geometry(HungryEngine(fits="never"), PREPARED, JobOptions(), [])
    assert executor.geometry(NullEngine(), PREPARED, JobOptions(), []).batch == 1


def test_other_errors_are_not_taken_for_missing_memory() -> None:
    class Broken(NullEngine):
        def texture(self, prepared: StageResult, geometry: StageResult, options: JobOptions) -> StageResult:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        DeviceExecutor().texture(Broken(), PREPARED, PREPARED, JobOptions(), [])


def test_torchs_own_error_is_recognised() -> None:
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("out of memory"))


def test_work_waits_until_its_memory_is_free() -> None:
    budget = MemoryBudget(1000)
    entered = threading.Event()

    def second() -> None:
        with budget.admit(600):
            entered.set()

    thread = threading.Thread(target=second)
    with budget.admit(600) as first:
        thread.start()
        assert not entered.wait(0.1)
        assert first.alone
    assert entered.wait(10)
    thread.join()


def test_work_that_fits_runs_beside_and_nobody_is_alone_then() -> None:
    budget = MemoryBudget(1000)
    with budget.admit(400) as first, budget.admit(400) as second:
        assert not first.alone
        assert not second.alone


def test_what_is_larger_than_the_device_is_admitted_alone_not_never() -> None:
    with MemoryBudget(1000).admit(5000) as admission:
        assert admission.alone


def test_alone_means_that_nobody_else_is_admitted() -> None:
    budget = MemoryBudget(1000)
    entered = threading.Event()

    def other() -> None:
        with budget.admit(1):
            entered.set()

    thread = threading.Thread(target=other)
    with budget.admit_alone():
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(10)
    thread.join()


def test_a_measured_peak_replaces_the_expectation() -> None:
    peaks = PeakTable()
    expected = peaks.need_mb(StageName.TEXTURE, "anny", 4096)
    peaks.observe(StageName.TEXTURE, "anny", 4096, 700.0)
    peaks.observe(StageName.TEXTURE, "anny", 4096, 600.0)
    assert 700.0 < peaks.need_mb(StageName.TEXTURE, "anny", 4096) < expected
    assert peaks.need_mb(StageName.TEXTURE, "anny", 8192) > expected


def test_geometry_of_concurrent_jobs_is_one_pass() -> None:
    executor = DeviceExecutor(largest_batch=2, wait_seconds=30.0, running=lambda _stage: 2)
    runs = []
    engine = NullEngine()

    def fit() -> None:
        runs.append(executor.geometry(engine, PREPARED, parse_options({}), []))

    threads = [threading.Thread(target=fit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [run.batch for run in runs] == [2, 2]
    assert runs[0].describe() == {"sharpen": True, "compile": "auto", "batch": 2}


def test_profiles_keep_memory_free() -> None:
    assert profile_of("a800").reserve > profile_of("a100").reserve
