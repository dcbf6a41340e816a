"""Engine hrn on a made-up model directory, in its own environment (`make test-hrn`), without a network."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_socket import disable_socket

from face3d.settings import Settings
from gpu_workers.engines.hrn.engine import HrnEngine
from gpu_workers.engines.hrn.stages import FrontReconstruction
from gpu_workers.head.model.head_template import HEAD_DATA_FILE

STEPS = 5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here; other people's libraries warn, and loading is slow."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.hrn)
            item.add_marker(pytest.mark.filterwarnings("ignore"))
            item.add_marker(pytest.mark.timeout(600))


def pytest_runtest_setup() -> None:
    """Take sockets away: a model directory suffices."""
    disable_socket(allow_unix_socket=True)


@pytest.fixture(scope="session")
def hrn_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up model directory; FACE3D_TEST_HRN_DIR names one that was made before."""
    made = os.environ.get("FACE3D_TEST_HRN_DIR")
    if made:
        return Path(made)
    from gpu_workers.engines.hrn.synthetic.make import make_model_directory

    folder = tmp_path_factory.mktemp("hrn") / "model"
    make_model_directory(folder)
    return folder


@pytest.fixture(scope="session")
def settings(hrn_folder: Path) -> Settings:
    found = Settings(hrn_model_dir=hrn_folder, hrn_texture_steps=STEPS)
    assert (found.model_dir / HEAD_DATA_FILE).is_file(), "`make env` builds the head data first"
    return found


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder of the tests' own."""
    folder, before = tmp_path_factory.mktemp("home"), os.environ.get("HOME")
    os.environ["HOME"] = str(folder)
    yield folder
    if before is not None:
        os.environ["HOME"] = before


@pytest.fixture(scope="session")
def engine(settings: Settings, home: Path) -> HrnEngine:
    """One warm engine for all, as a worker gets it."""
    from gpu_workers.engines.registry import load_engine

    loaded = load_engine("hrn", settings, "cpu")
    assert isinstance(loaded, HrnEngine)
    return loaded


@pytest.fixture(scope="session")
def front(engine: HrnEngine) -> FrontReconstruction:
    return engine.front
