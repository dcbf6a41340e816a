"""GPU types and the workers that are planned for them."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from face3d.errors import ConfigurationError
from face3d.options import GPU_TYPE_NAMES
from face3d.settings import Settings
from face3d.states import STAGES, PriorityClass, StageName
from face3d.worker_spec import WorkerSpec
from gpu_workers.gpu_catalog import GPU_TYPES, cpu_slots, gpu_type, match_device_name, relative_speed
from gpu_workers.health import detect_gpu_type
from gpu_workers.launcher import plan_workers, plans_from_arguments, worker_command, worker_environment


@pytest.mark.parametrize(
    ("device_name", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A800-SXM4-80GB", "a800"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("Tesla V100-PCIE-32GB", "v100"),
        ("Tesla T4", "t4"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
    ],
)
def test_nvml_names_are_recognised(device_name: str, expected: str) -> None:
    found = match_device_name(device_name)
    assert found is not None
    assert found.name == expected


def test_an_unknown_card_is_not_taken_for_another() -> None:
    assert match_device_name("NVIDIA L40") is None
    assert match_device_name("NVIDIA GeForce RTX 4090") is None


def test_every_name_that_a_caller_may_force_is_in_the_table() -> None:
    assert set(GPU_TYPE_NAMES) == set(GPU_TYPES)
    with pytest.raises(ConfigurationError, match="voodoo"):
        gpu_type("voodoo")


def test_a_cpu_is_a_type_like_any_other() -> None:
    assert detect_gpu_type("cpu").name == "cpu"


def test_priors_follow_the_published_bandwidth() -> None:
    ordered = sorted(GPU_TYPES, key=relative_speed)
    assert ordered[0] == "cpu"
    assert ordered[-1] == "h200"
    assert relative_speed("a100") == 1.0


def test_cpu_slots_are_bounded_by_cores_and_memory() -> None:
    assert cpu_slots(cores=2, memory_gb=24) == 2
    assert cpu_slots(cores=16, memory_gb=9) == 2
    assert cpu_slots(cores=1, memory_gb=2) == 1


def plan(**changes: object):
    arguments: dict[str, object] = {
        "device": "cuda:1",
        "stages": [StageName.GEOMETRY, StageName.TEXTURE],
        "gpu": gpu_type("h100"),
        "slots": None,
        "host": "host",
        "interactive_slots": False,
    }
    return plan_workers(**{**arguments, **changes})  # type: ignore[arg-type]


def test_a_gpu_worker_runs_threads_on_queues_of_its_type() -> None:
    (planned,) = plan()
    assert planned.worker.name == "h100-cuda1@host"
    assert planned.worker.pool == "threads"
    command = worker_command(planned, "INFO")
    assert command[command.index("--queues") + 1].split(",") == [
        "geometry.h100.interactive", "texture.h100.interactive", "geometry.h100.batch", "texture.h100.batch",
    ]  # fmt: skip
    assert command[command.index("--pool") + 1] == "threads"


def test_a_workers_processes_read_back_what_its_launcher_wrote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (planned,) = plan(device="cuda:1", slots=3)
    told = replace(planned.worker, watch_dir=tmp_path, memory_share=0.6)
    for name, value in worker_environment(told).items():
        monkeypatch.setenv(name, value)
    assert Settings().worker == told


def test_a_process_that_nobody_described_is_a_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WorkerSpec(name="any", watch_dir=Path("any")).environment():
        monkeypatch.delenv(name, raising=False)
    worker = Settings().worker
    assert worker == WorkerSpec(name=f"worker-{os.getpid()}")
    assert (worker.gpu_type, worker.device, worker.serves_stages) == ("cpu", "cpu", False)


def test_a_worker_of_a_stage_that_nobody_knows_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACE3D_STAGES", "geometry,sculpting")
    with pytest.raises(ValidationError, match="preprocess"):
        Settings()


def test_a_cpu_worker_forks_and_serves_all_stages() -> None:
    (planned,) = plan(device="cpu", gpu=gpu_type("cpu"), stages=STAGES, slots=2)
    assert planned.worker.pool == "prefork"
    assert len(planned.queues) == 8


@pytest.mark.parametrize(("slots", "reserved_slots"), [(1, 1), (2, 1), (4, 2)])
def test_a_broker_without_urgency_keeps_the_classes_apart(slots: int, reserved_slots: int) -> None:
    batch, reserved = plan(interactive_slots=True, slots=slots)
    assert (batch.worker.slots, reserved.worker.slots) == (slots, reserved_slots)
    assert reserved.worker.name != batch.worker.name
    assert {queue.priority_class for queue in reserved.queues} == {PriorityClass.INTERACTIVE}
    assert {queue.priority_class for queue in batch.queues} == {PriorityClass.BATCH}
    assert batch.worker.memory_share + reserved.worker.memory_share == pytest.approx(1.0)


def test_all_devices_get_a_worker_each(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(broker_url=SecretStr("redis://127.0.0.1:6379/0"))
    chosen = argparse.Namespace(
        all_devices=True, device="cpu", gpu_type="h200", stages=None, slots=None, host="rack"
    )
    monkeypatch.setattr("gpu_workers.launcher.count_gpus", lambda: 2)
    assert [planned.worker.name for planned in plans_from_arguments(chosen, settings)] == [
        "h200-cuda0@rack",
        "h200-cuda1@rack",
    ]
    monkeypatch.setattr("gpu_workers.launcher.count_gpus", lambda: 0)
    with pytest.raises(ConfigurationError, match="no NVIDIA GPU"):
        plans_from_arguments(chosen, settings)


def test_a_gpu_worker_refuses_stages_that_have_no_queue_there() -> None:
    with pytest.raises(ConfigurationError, match="packaging"):
        plan(stages=STAGES)
