"""A real Celery worker whose stages wait first: `FACE3D_TEST_WAIT=geometry=30,texture=1`.

The wait lets a test kill, freeze or cancel in the middle of a stage; everything else is the product's.
"""

import os
import time
from collections.abc import Callable

from tasks import stages
from tasks.app import app
from tasks.base import StageContext, StageOutput

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
