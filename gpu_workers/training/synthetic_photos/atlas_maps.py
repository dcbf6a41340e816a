"""Constant maps of the skin's atlas: where on the template each texel lies, and in which feature."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import LEFT_BROW, RIGHT_BROW
from gpu_workers.head.ops.uv_rasterization import interpolate, rasterise_atlas

FloatArray = NDArray[np.float64]

#: The far ends of a brow are thinner than its middle by this share.
_BROW_TAPER = 0.6


@dataclass(frozen=True, kw_only=True)
class AtlasMaps:
    """Maps (S, S) float32; row 0 lies at v = 1."""

    #: (3, S, S) template place, metres, head's frame.
    place: Tensor
    lips: Tensor
    lid_rim: Tensor
    ears: Tensor
    #: Metres behind the hairline (negative in front of it).
    behind_hairline: Tensor
    #: Height above the middle line of the brow, metres, and the brow's thickness there (0..1).
    above_brow: Tensor
    brow_body: Tensor
    #: 0..1 where a beard grows: large where every beard reaches.
    beard: Tensor
    #: 0..1 around the brows and around the lips: where those textures slip.
    brow_zone: Tensor
    lip_zone: Tensor
    #: 0..1 in the middle of the cheeks.
    cheeks: Tensor
    #: 0..1 inside the mouth.
    mouth: Tensor
    #: 1 on the chart of the face, which is symmetric about u = 0.5, else 0.
    symmetric: Tensor


def make_atlas_maps(data: HeadData, size: int, device: torch.device) -> AtlasMaps:
    """Return the maps, `size` texels a side."""
    skin = data.part("skin")
    positions = data.positions[skin.vertices].astype(np.float64)
    marks = _landmarks(data)
    raster, _ = rasterise_atlas(
        torch.from_numpy(skin.uvs), torch.from_numpy(skin.uv_triangles).long(), size, reach=1.0
    )
    vertex_fields = np.stack(
        [
            *positions.T,
            *(data.masks[name] for name in ("lips", "eyelid_rim", "ears", "mouth_interior")),
            hairline(data, positions),
        ],
        axis=1,
    )
    fields = interpolate(
        torch.from_numpy(vertex_fields).float(), torch.from_numpy(skin.triangles).long(), raster
    ).numpy()
    x, y, z, lips, rim, ears, mouth_inside, hair = fields.transpose(2, 0, 1).astype(np.float64)
    above, body = _brow_fields(marks, np.abs(x), y, z)
    mouth = marks[[61, 291]].mean(0)
    beard_line = _interpolate_line(z, (marks[127, 2], marks[127, 1] - 0.012), (marks[2, 2], marks[2, 1]))
    chin = marks[152, 1]
    cheek = marks[50]
    on_cheek = np.exp(-(((np.abs(x) - abs(cheek[0])) / 0.018) ** 2) - ((y - cheek[1]) / 0.018) ** 2)
    maps = {
        "lips": lips,
        "lid_rim": rim,
        "ears": ears,
        "mouth": mouth_inside,
        "symmetric": (skin.uv_islands[skin.uv_triangles[:, 0]] == 0)[raster.triangle.numpy()],
        "behind_hairline": hair,
        "above_brow": above,
        "brow_body": body,
        "beard": smooth_step((beard_line - y) / 0.03)
        * smooth_step((y - chin + 0.035) / 0.03)
        * (1 - ears)
        * smooth_step((z - marks[127, 2] + 0.005) / 0.01),
        "brow_zone": smooth_step((y - marks[168, 1] + 0.002) / 0.012) * smooth_step((z + 0.04) / 0.03),
        "lip_zone": smooth_step(1.6 - np.abs(y - mouth[1]) / 0.02) * smooth_step(1.6 - np.abs(x) / 0.03),
        "cheeks": on_cheek * smooth_step((z + 0.02) / 0.02),
    }
    tensors = {
        name: torch.from_numpy(np.asarray(value, np.float32)).to(device) for name, value in maps.items()
    }
    return AtlasMaps(place=torch.from_numpy(np.stack([x, y, z])).float().to(device), **tensors)


def hairline(data: HeadData, positions: FloatArray) -> FloatArray:
    """Return how far (metres) points (N, 3) on the template lie behind the hairline, negative in front.

    The hairline is a plane through the top of the forehead and the front of the ears; the nape ends it below.
    """
    marks = _landmarks(data)
    top, temples, chin = marks[10], marks[[127, 356]].mean(0), marks[152]
    along = top[1:] - temples[1:]
    along /= np.linalg.norm(along)
    forward = np.array([0.0, -along[1], along[0]])
    nape = 0.5 * (chin[1] + temples[1])
    return np.asarray(np.minimum(-(positions - temples) @ forward, positions[:, 1] - nape))


def smooth_step(value: FloatArray) -> FloatArray:
    """Return 0 below 0, 1 above 1, and a smooth way between."""
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))


def _landmarks(data: HeadData) -> FloatArray:
    corners = data.positions[data.landmark_vertices].astype(np.float64)
    return np.asarray((corners * data.landmark_weights[..., None]).sum(1))


def _interpolate_line(z: FloatArray, first: tuple[float, float], second: tuple[float, float]) -> FloatArray:
    return np.asarray(np.interp(z, [first[0], second[0]], [first[1], second[1]]))


def _brow_fields(
    marks: FloatArray, across: FloatArray, y: FloatArray, z: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the height above the brow's middle line, and the thickness of its hair (0 off its ends)."""
    lines = []
    for brow in (RIGHT_BROW, LEFT_BROW):
        middle = 0.5 * (marks[list(brow[:5])] + marks[list(brow[:4:-1])])
        order = np.argsort(np.abs(middle[:, 0]))
        lines.append(np.stack([np.abs(middle[order, 0]), middle[order, 1]]))
    line_x, line_y = np.mean(lines, axis=0)
    above = y - np.interp(across, line_x, line_y)
    share = (across - line_x[0]) / (line_x[-1] - line_x[0])
    body = (1 - _BROW_TAPER * np.clip(share, 0, 1) ** 2) * smooth_step(share / 0.12 + 0.5)
    body = body * smooth_step((1.08 - share) / 0.2) * (z > marks[127, 2] / 2)
    return above, np.asarray(body)
