"""A render of the astronaut's head with a skin that is known, and what is baked from it."""

import dataclasses

import numpy as np

from assets.preview.render import load_texture, render
from assets.preview.scene import pose_head
from face3d.options import JobOptions
from tests.unit.head.head_support import engine, head_data, prepared_astronaut

#: Linear light; pixels a side of the maps.
SKIN, SIDE = (0.42, 0.24, 0.17), 1024


def plain_skin() -> np.ndarray:
    """(SIDE, SIDE, 3) linear light."""
    return np.array(SKIN, np.float32) * np.ones((SIDE, SIDE, 1), np.float32)


def texel(landmark: int) -> tuple[float, float]:
    """Column and row of a landmark on the skin's map."""
    data = head_data()
    skin = data.part("skin")
    corners = data.landmark_vertices[landmark]
    face = int(np.isin(skin.triangles, corners).all(1).argmax())
    places = {
        int(v): skin.uvs[uv] for v, uv in zip(skin.triangles[face], skin.uv_triangles[face], strict=True)
    }
    u, v = sum(w * places[int(c)] for c, w in zip(corners, data.landmark_weights[landmark], strict=True))
    return u * SIDE, (1 - v) * SIDE


def bake_painted(skin: np.ndarray, expression: str) -> np.ndarray:
    """Return the albedo, linear light like `skin`, that is baked from a render with the photo's expression.

    Args:
        expression: of the head that it is baked for, as in the options.
    """
    options = JobOptions(expression=expression, texture_size=SIDE)
    prepared = prepared_astronaut()
    geometry = engine().geometry(prepared, options)
    head = geometry.head
    weights = None if head.expression_in_base else head.expression
    picture = render(pose_head(head, head.camera, weights=weights), {"skin": skin})
    texture = engine().texture(dataclasses.replace(prepared, photo=picture), geometry, options)
    return load_texture(texture.skin)
