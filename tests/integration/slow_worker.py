"""A real Celery worker whose stages wait first: `FACE3D_TEST_WAIT=geometry=30,texture=1`.

The wait lets a test kill, freeze or cancel in the middle of a stage. `FACE3D_TEST_OUT_OF_MEMORY=texture`: the
stage finds no memory. `FACE3D_TEST_HOT=FILE`: the device throttles while the file exists. Everything else is
the product's.
"""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gpu_workers.health import HostProbe
from gpu_workers.nvml import DeviceReading
from tasks import stages
from tasks.app import app
from tasks.stage_context import StageContext, StageOutput

__all__ = ["app"]

_FUNCTIONS = {
    "preprocess": "preprocess_photo",
    "geometry": "fit_geometry",
    "texture": "bake_texture",
    "packaging": "package_asset",
}


def _waiting(
    function: Callable[[StageContext], StageOutput], seconds: float
) -> Callable[[StageContext], StageOutput]:
    def wait_then_work(context: StageContext) -> StageOutput:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.02)
        return function(context)

    return wait_then_work


for _item in filter(None, os.environ.get("FACE3D_TEST_WAIT", "").split(",")):
    _stage, _seconds = _item.split("=")
    _name = _FUNCTIONS[_stage]
    setattr(stages, _name, _waiting(getattr(stages, _name), float(_seconds)))


def _starving(_context: StageContext) -> StageOutput:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


for _stage in filter(None, os.environ.get("FACE3D_TEST_OUT_OF_MEMORY", "").split(",")):
    setattr(stages, _FUNCTIONS[_stage], _starving)


_read = HostProbe.read


def _read_hot(probe: HostProbe) -> DeviceReading:
    hot = Path(os.environ["FACE3D_TEST_HOT"]).exists()
    return replace(_read(probe), throttle=("hardware thermal slowdown",) if hot else ())


if "FACE3D_TEST_HOT" in os.environ:
    HostProbe.read = _read_hot
