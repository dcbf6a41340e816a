"""A sheet of expressions of a head.glb, path-traced by Blender's Cycles: what another renderer makes of it.

Blender's Python module is no dependency of the project. In an environment of its own, with Python 3.11:

    pip install bpy==5.0.1 pillow
    python bench/quality/blender_sheets.py head.glb sheet.png
"""

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import bpy  # type: ignore[import-not-found]
from mathutils import Vector  # type: ignore[import-not-found]
from PIL import Image, ImageDraw, ImageFont

#: Twelve keys and four combinations; a name without its side stands for both sides.
EXPRESSIONS = (
    "neutral", "mouthSmile", "jawOpen", "mouthPucker", "mouthFunnel", "tongueOut", "cheekPuff", "mouthFrown",
    "eyeBlink", "eyeSquint", "browInnerUp", "browDown", "noseSneer",
    "jawOpen+mouthSmile", "mouthClose+jawOpen", "eyeBlink+eyeSquint", "mouthSmile+cheekSquint",
)  # fmt: skip
YAWS = (0.0, 45.0)
_SIDES = ("", "Left", "Right")
_COLUMNS, _LABEL = 6, 22
_PAPER, _INK = (18, 22, 31), (214, 221, 232)
#: As the sheets of `bench shapes` frame a face, glTF's axes, metres; `aim_camera`'s distance.
_TARGET, _FIELD, _DISTANCE = (0.0, -0.018, -0.01), 0.215, 1.28
#: Watts and metres of the lamps, before the head, at its right and left; the sky's radiance.
_KEY_LAMP, _FILL_LAMP, _SKY = ((-0.7, 0.7, 1.1), 22.0, 0.5), ((0.9, 0.2, 0.8), 6.0, 0.7), 0.35


def main() -> None:
    """Render the sheet that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("head", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--only", default=",".join(EXPRESSIONS), help="like jawOpen,jawOpen+mouthSmile")
    parser.add_argument("--tile", type=int, default=320, help="pixels a side")
    parser.add_argument("--samples", type=int, default=24, help="rays a pixel, denoised")
    arguments = parser.parse_args()
    _set_up(arguments.head, arguments.tile, arguments.samples)
    tiles = []
    with tempfile.TemporaryDirectory() as folder:
        for expression in arguments.only.split(","):
            set_keys(bpy.data.objects, expression)
            for yaw in YAWS:
                tiles.append((f"{expression}{f', {yaw:g}°' if yaw else ''}", _render(yaw, Path(folder))))
                print(tiles[-1][0], flush=True)
    lay_out(tiles, arguments.tile).save(arguments.sheet)


def set_keys(objects: Sequence[bpy.types.Object], expression: str) -> None:
    """Set the keys that A+B names to 1.0 on every object, their correctives `A__B` with them, the rest to 0.

    Raises:
        ValueError: no object has such a key.
    """
    blocks = [
        block for item in objects if item.type == "MESH" and item.data.shape_keys
        for block in item.data.shape_keys.key_blocks[1:]
    ]  # fmt: skip
    names = {block.name for block in blocks}
    used = {word + side for word in expression.split("+") for side in _SIDES if word + side in names}
    if not used and expression != "neutral":
        raise ValueError(f"{expression}: no such key")
    for block in blocks:
        block.value = float(all(name in used for name in block.name.split("__")))


def _set_up(head: Path, tile: int, samples: int) -> None:
    """Put the head into an empty scene with a camera and two lamps under a dim sky."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(head))
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising = "CPU", samples, True
    scene.cycles.transparent_max_bounces = 32
    scene.render.resolution_x = scene.render.resolution_y = tile
    scene.view_settings.view_transform = "Standard"
    world = bpy.data.worlds.new("sky")
    scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = _SKY
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.angle = 2 * math.atan(_FIELD / 2 / _DISTANCE)
    camera.data.clip_start = 0.05
    scene.collection.objects.link(camera)
    scene.camera = camera
    for name, (place, watts, size) in (("key", _KEY_LAMP), ("fill", _FILL_LAMP)):
        lamp = bpy.data.objects.new(name, bpy.data.lights.new(name, "AREA"))
        lamp.data.energy, lamp.data.size = watts, size
        scene.collection.objects.link(lamp)
        _aim(lamp, _to_blender(place))


def _to_blender(point: Sequence[float]) -> Vector:
    """Return a point of glTF's axes (y up, z to the front) in Blender's (z up, y to the back)."""
    return Vector((point[0], -point[2], point[1]))


def _aim(item: bpy.types.Object, place: Vector) -> None:
    item.location = place
    item.rotation_euler = (_to_blender(_TARGET) - place).to_track_quat("-Z", "Y").to_euler()


def _render(yaw: float, folder: Path) -> Image.Image:
    turn = math.radians(yaw)
    away = _to_blender((math.sin(turn) * _DISTANCE, 0.0, math.cos(turn) * _DISTANCE))
    _aim(bpy.context.scene.camera, _to_blender(_TARGET) + away)
    path = folder / "tile.png"
    bpy.context.scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return Image.open(path).convert("RGB").copy()


def lay_out(tiles: Sequence[tuple[str, Image.Image]], tile: int) -> Image.Image:
    """Return labelled square pictures in rows."""
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * tile, rows * (tile + _LABEL)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for number, (label, picture) in enumerate(tiles):
        left, top = number % columns * tile, number // columns * (tile + _LABEL)
        sheet.paste(picture, (left, top))
        draw.text((left + tile / 2, top + tile + _LABEL / 2), label, fill=_INK, font=font, anchor="mm")
    return sheet


if __name__ == "__main__":
    main()
