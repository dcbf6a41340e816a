"""What bakes all maps of one topology on one device: constants, made when first asked for, and graphs."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.segmentation.face_masks import MaskFinder
from gpu_workers.head.texturing.bust import BustPaint, prepare_bust
from gpu_workers.head.texturing.detail_maps import build_surface_atlas
from gpu_workers.head.texturing.detail_maps_cuda import SurfaceBaker
from gpu_workers.head.texturing.eyes import EyePaint, locate_iris, prepare_eyes
from gpu_workers.head.texturing.lashes import paint_lashes
from gpu_workers.head.texturing.mouth import MouthPaint, prepare_mouth
from gpu_workers.head.texturing.skin_bake import SkinBaker
from gpu_workers.head.texturing.uv_atlas import SkinAtlas, build_skin_atlas

Part = TypeVar("Part")


class MapBaker:
    """The parts of the texture stage that outlive a photo; safe to call from several threads.

    Args:
        data: the heads' topology.
        masks: of the same runtime.
    """

    def __init__(self, data: HeadData, runtime: DeviceRuntime, masks: MaskFinder | None = None) -> None:
        self.data, self.runtime = data, runtime
        self.masks = masks or MaskFinder(runtime)
        self._parts: dict[str, Any] = {}
        self._lock = threading.RLock()

    def prepare(self) -> None:
        """Make all parts, so that the first photo does not pay for them."""
        for part in (self.skin, self.surface, self.mouth, self.eyes, self.lashes):
            assert part is not None  # noqa: S101 - they were made by asking for them

    @property
    def atlas(self) -> SkinAtlas:
        """The skin's constant maps."""
        return self._once("atlas", lambda: build_skin_atlas(self.data, self.runtime.device))

    @property
    def skin(self) -> SkinBaker:
        """What bakes the skin's colour."""
        return self._once("skin", lambda: SkinBaker(self.atlas, self.runtime))

    @property
    def surface(self) -> SurfaceBaker:
        """What makes the skin's other maps."""
        return self._once(
            "surface", lambda: SurfaceBaker(build_surface_atlas(self.data, self.atlas), self.runtime)
        )

    @property
    def mouth(self) -> MouthPaint:
        """The constant parts of the mouth's map."""
        return self._once("mouth", lambda: prepare_mouth(self.data, self.runtime.device))

    @property
    def eyes(self) -> EyePaint:
        """The constant parts of the eyes' map."""
        return self._once("eyes", lambda: prepare_eyes(locate_iris(self.data, self.runtime.device)))

    @property
    def bust(self) -> BustPaint:
        """The constant parts of the bust's map, made for the first job that asks for one."""
        return self._once("bust", lambda: prepare_bust(self.data, self.runtime.device))

    @property
    def lashes(self) -> NDArray[np.uint8]:
        """The lashes' map, which is everybody's."""
        return self._once("lashes", paint_lashes)

    def _once(self, name: str, make: Callable[[], Part]) -> Part:
        with self._lock:
            if name not in self._parts:
                self._parts[name] = make()
            return cast(Part, self._parts[name])
