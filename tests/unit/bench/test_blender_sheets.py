"""The script that runs in Blender sets keys by name, on one object or many; Blender is a stand-in here."""

import importlib
import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest
from PIL import Image


@pytest.fixture
def sheets(monkeypatch) -> ModuleType:
    for name in ("bpy", "mathutils"):
        monkeypatch.setitem(sys.modules, name, MagicMock())
    monkeypatch.delitem(sys.modules, "bench.quality.blender_sheets", raising=False)
    module = importlib.import_module("bench.quality.blender_sheets")
    yield module
    del sys.modules["bench.quality.blender_sheets"]


def _mesh(*names: str) -> SimpleNamespace:
    blocks = [SimpleNamespace(name=name, value=0.5) for name in ("Basis", *names)]
    return SimpleNamespace(type="MESH", data=SimpleNamespace(shape_keys=SimpleNamespace(key_blocks=blocks)))


def _values(mesh: SimpleNamespace) -> dict[str, float]:
    return {block.name: block.value for block in mesh.data.shape_keys.key_blocks[1:]}


def test_a_combination_sets_both_sides_and_its_correctives(sheets) -> None:
    skin = _mesh("jawOpen", "mouthSmileLeft", "mouthSmileRight", "tongueOut", "jawOpen__mouthSmileLeft")
    teeth, lamp = _mesh("jawOpen"), SimpleNamespace(type="LIGHT")
    sheets.set_keys([skin, teeth, lamp], "jawOpen+mouthSmile")
    assert _values(skin) == {
        "jawOpen": 1, "mouthSmileLeft": 1, "mouthSmileRight": 1, "tongueOut": 0, "jawOpen__mouthSmileLeft": 1
    }  # fmt: skip
    assert _values(teeth) == {"jawOpen": 1}
    sheets.set_keys([skin, teeth], "jawOpen")
    assert _values(skin)["jawOpen__mouthSmileLeft"] == 0
    sheets.set_keys([skin, teeth], "neutral")
    assert not any(_values(skin).values())


def test_an_unknown_key_is_named(sheets) -> None:
    with pytest.raises(ValueError, match="mouthGrin"):
        sheets.set_keys([_mesh("jawOpen")], "mouthGrin")


def test_pictures_stand_in_rows(sheets) -> None:
    tiles = [(str(shade), Image.new("L", (8, 8), shade).convert("RGB")) for shade in range(10, 80, 10)]
    sheet = sheets.lay_out(tiles, 8)
    assert sheet.size[0] == 6 * 8
    assert sheet.getpixel((4, 8 + 22 + 4)) == (70, 70, 70)
