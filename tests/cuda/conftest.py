"""Tests on a card: `make test-gpu`. Each compares a fast way with its reference, within stated tolerances."""

from pathlib import Path

import pytest
import torch

from gpu_workers.head.runtime.device_runtime import DeviceRuntime

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here, so that machines without a card leave it out."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cuda)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The card; without one the run ends as a failure."""
    if not torch.cuda.is_available():
        pytest.exit("These tests need an NVIDIA GPU and a CUDA build of torch.", returncode=3)
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="module")
def runtime(device: torch.device) -> DeviceRuntime:
    """The card as an engine uses it."""
    return DeviceRuntime(device, graphs=True)
