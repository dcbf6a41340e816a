"""The contact sheet shows the head with its maps, its bare shape, and the photo."""

import numpy as np

from bench.quality import contact_sheet
from face3d.messages import StageResult
from gpu_workers.engines.null.head import make_head


def test_a_sheet_shows_photo_colours_shape_and_albedo(monkeypatch) -> None:
    monkeypatch.setattr(contact_sheet, "_TILE", 64)
    head = make_head()
    photo = np.full((head.camera.height, head.camera.width, 3), (10, 200, 10), np.uint8)
    skin = np.full((64, 64, 3), (200, 40, 40), np.uint8)
    texture = StageResult(tensors={"albedo/skin": skin})
    sheet = np.asarray(contact_sheet.draw_sheet(photo, head, texture, 1)).astype(int)
    assert sheet.shape[1] == 4 * 64
    assert sheet.shape[0] % (64 + 30) == 0
    # Photo, then the head in the map's red, in the sheet's first row; the bare shape is grey.
    assert tuple(sheet[32, 32]) == (10, 200, 10)
    assert sheet[32, 96, 0] > 2 * sheet[32, 96, 1]
    shapes = [name.label for name in contact_sheet._VIEWS].index("shape") + 1 + bool(head.expression.any())
    row, column = divmod(shapes, 4)
    pixel = sheet[row * 94 + 32, column * 64 + 32]
    assert np.ptp(pixel) < 25
