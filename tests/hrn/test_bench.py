"""`face3d bench hrn`: what it says of ways that cannot be measured, and how it shares its time."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from bench.hrn.comparison import measure_ways
from bench.hrn.unmodified import UnmodifiedPipeline
from face3d.errors import EngineUnavailable


def test_without_nvdiffrast_it_says_so(hrn_folder: Path) -> None:
    with (
        UnmodifiedPipeline(hrn_folder, "cuda", 1) as unmodified,
        pytest.raises(EngineUnavailable, match="ModuleNotFoundError: No module named 'nvdiffrast'"),
    ):
        unmodified.load()


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages of the two names, which draw with our rasteriser, where Python finds them first."""
    ours = "from gpu_workers.engines.hrn.rendering import"
    for name, text in {
        "nvdiffrast/__init__.py": "__version__ = '0.3.3.1'",
        "nvdiffrast/torch.py": f"{ours} RasterizeCudaContext, interpolate, rasterize, texture",
        "pytorch3d/__init__.py": "__version__ = '0.7.9'",
        "pytorch3d/structures.py": f"{ours} Meshes",
        "pytorch3d/io.py": "load_obj = None",
        "pytorch3d/renderer/__init__.py": "",
        "pytorch3d/renderer/mesh.py": f"{ours} rasterize_meshes",
    }.items():
        file = tmp_path / "site" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=":")


@pytest.mark.usefixtures("stand_ins", "home")
def test_its_process_draws_with_the_packages_of_that_name(hrn_folder: Path) -> None:
    with UnmodifiedPipeline(hrn_folder, "cpu", 1) as unmodified:
        assert unmodified.load() == "nvdiffrast 0.3.3.1, PyTorch3D 0.7.9"
        assert unmodified.time_call(skimage.data.astronaut(), frames=False)["call"] > 0


@pytest.mark.usefixtures("stand_ins", "home")
def test_a_process_that_fails_says_why(hrn_folder: Path) -> None:
    nothing = np.zeros((64, 64, 3), np.uint8)
    with UnmodifiedPipeline(hrn_folder, "cpu", 1) as unmodified:
        unmodified.load()
        with pytest.raises(EngineUnavailable, match="TypeError"):
            unmodified.time_call(nothing[0], frames=False)
        with pytest.raises(EngineUnavailable, match="ended with code"):
            unmodified.time_call(nothing, frames=False)


def test_slow_ways_are_called_less_and_the_table_says_how_often() -> None:
    said: list[str] = []
    ways = {"slow": lambda _: {"call": 8.0}, "fast": lambda row: {"crop": 0.5, "fit": 0.25 * (1 + row)}}
    rows = measure_ways(ways, photos=2, rounds=2, seconds=6, say=said.append)
    wholes = [(row["way"], row["round"], row["photo"]) for row in rows if row["part"] in ("whole", "call")]
    assert wholes == [("slow", 0, 0), ("fast", 0, 0), ("fast", 0, 1), ("fast", 1, 0), ("fast", 1, 1)]
    assert said[0] == "first call of slow: 8.0 s"
    assert said[2] == "round 1, photo 1, ms: slow 8000; fast 750"
    cells = [line.split("|") for line in said[-1].splitlines()]
    counts = {(line[1].strip(), line[2].strip()): line[-2].strip() for line in cells if len(line) > 2}
    assert counts["slow", "whole"] == "1"
    assert counts["fast", "fit"] == "4"
