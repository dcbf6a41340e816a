"""An asset's bytes do not depend on how many threads made them."""

import numpy as np
import pytest

from assets import pieces
from assets.gltf import write_glb
from assets.levels import head_at_level
from assets.maps import iterate_maps, select_embedded_maps
from assets.preview import picture
from assets.preview.picture import render_preview
from face3d.options import JobOptions
from face3d.stage_results import BakedMaps, SurfaceImages
from gpu_workers.engines.null.head import make_head

# Large enough to be encoded and reduced in bands.
_SIDE = 1100


def make_maps() -> BakedMaps:
    rng = np.random.default_rng(7)
    coarse = rng.integers(64, 256, (_SIDE // 20, _SIDE // 20, 4)).astype(np.uint8)
    noise = np.ascontiguousarray(coarse.repeat(20, axis=0).repeat(20, axis=1))
    return BakedMaps(
        skin=noise[..., :3],
        eyes=noise[:64, :64, :3],
        lashes=noise[:64, :64],
        surface=SurfaceImages(
            normal=noise[..., 1:],
            roughness=noise[..., 1],
            occlusion=noise[..., 2],
            displacement=noise[..., 3].astype(np.uint16) * 257,
        ),
    )


@pytest.mark.parametrize("texture_format", ["png", "jpeg", "webp"])
def test_maps_are_the_same_and_in_the_same_order(texture_format: str) -> None:
    maps, options = make_maps(), JobOptions(texture_format=texture_format)
    one, five = (list(iterate_maps(maps, options, threads)) for threads in (1, 5))
    assert one == five
    assert len(one) == 12


def test_shapes_and_preview_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, head = make_maps(), head_at_level(make_head(), 0)
    textures = select_embedded_maps(dict(iterate_maps(maps, JobOptions())))
    photo = np.full((64, 64, 3), 90, np.uint8)
    made = []
    for threads in (1, 5):
        for module in (pieces, picture):
            monkeypatch.setattr(module, "ARRAY_THREADS", threads)
        monkeypatch.setattr(pieces, "_SMALL_PART", 10)
        made.append((write_glb(head, textures), render_preview(photo, head, textures)))
    assert made[0] == made[1]
