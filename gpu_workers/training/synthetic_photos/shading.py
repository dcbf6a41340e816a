"""Light on surfaces. Pictures are planes: (C, B, H, W), so that every operation reads in one run.

Frame of normals and directions: the camera's, x right, y down, z forward.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from gpu_workers.head.ops.rasterization import rasterise
from gpu_workers.training.constants import constant
from gpu_workers.training.synthetic_photos.random_appearance import LightLook

#: Side of the shadow maps, and how far a surface lies in front of itself, metres.
SHADOW_PIXELS = 144
_SHADOW_BIAS = 0.004
#: Half the side of what a shadow map shows, metres: head and neck.
_SHADOW_REACH = 0.19
#: Red light travels farthest under the skin: the light wraps round by so much more, by channel.
_SUBSURFACE = (0.22, 0.07, 0.03)


class Shadows(NamedTuple):
    """Depth maps seen from the key light."""

    #: (B, P, P) metres along the light.
    depth: Tensor
    #: (B, 3, 3) rows: right, down and away of the light's view; (B, 3) its middle, metres.
    frame: Tensor
    middle: Tensor
    #: () see gpu_workers.head.ops.rasterization.Raster.
    dropped: Tensor


def planes(values: Tensor) -> Tensor:
    """Return (B, C) or (B,) as planes (C or 1, B, 1, 1)."""
    wide: Tensor = values.view(len(values), -1).T[:, :, None, None]
    return wide


def dot(first: Tensor, second: Tensor) -> Tensor:
    """Return (B, H, W): the product of planes (3, B, H, W)."""
    product: Tensor = first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
    return product


def unit(vectors: Tensor) -> Tensor:
    """Return planes (3, B, H, W) of length 1."""
    return vectors * torch.rsqrt(dot(vectors, vectors) + 1e-12)


def shadow_view(vertices: Tensor, light: LightLook) -> tuple[Tensor, Tensor, Tensor]:
    """Return heads (B, V, 3) as the key light sees them (pixels, depth + 1), with its frame and middle."""
    away = -light.direction[:, 0]
    helper = constant((0.1, 1.0, 0.2), vertices.device).expand_as(away)
    right = torch.nn.functional.normalize(torch.linalg.cross(helper, away), dim=1)
    frame = torch.stack([right, torch.linalg.cross(away, right), away], 1)
    middle = vertices.mean(1)
    seen = (vertices - middle[:, None]) @ frame.mT
    plane = (seen[..., :2] / _SHADOW_REACH + 1) * (SHADOW_PIXELS / 2)
    return torch.cat([plane, seen[..., 2:] + 1], -1), frame, middle


def cast_shadows(vertices: Tensor, triangles: Tensor, light: LightLook, capacity: int | None) -> Shadows:
    """Return the key light's depth maps of heads (B, V, 3) in the camera's frame."""
    view, frame, middle = shadow_view(vertices, light)
    size = SHADOW_PIXELS
    raster = rasterise(view, triangles, size, size, perspective=False, cull_back=True, capacity=capacity)
    return Shadows(raster.depth - 1, frame, middle, raster.dropped)


def lit_share(shadows: Shadows, place: Tensor, normal: Tensor) -> Tensor:
    """Return (B, H, W) how much of the key light reaches places (3, B, H, W), metres."""
    offset = place + normal * _SHADOW_BIAS - planes(shadows.middle)
    x, y, z = (dot(offset, planes(shadows.frame[:, k])) for k in range(3))
    batch = len(shadows.depth)
    first = (torch.arange(batch, device=x.device, dtype=torch.int32) * SHADOW_PIXELS**2)[:, None, None]
    flat = shadows.depth.reshape(-1)
    x = (x / _SHADOW_REACH + 1) * (SHADOW_PIXELS / 2)
    y = (y / _SHADOW_REACH + 1) * (SHADOW_PIXELS / 2)
    z = z - _SHADOW_BIAS
    total = torch.zeros_like(x)
    taps = ((-0.9, -0.4), (0.4, -0.9), (0.9, 0.4), (-0.4, 0.9))
    for dx, dy in taps:
        column = (x + dx).clamp(0, SHADOW_PIXELS - 1).int()
        row = (y + dy).clamp(0, SHADOW_PIXELS - 1).int()
        total += z < flat[first + row * SHADOW_PIXELS + column]
    return total / len(taps)


def shade(
    light: LightLook,
    colour: Tensor,
    normal: Tensor,
    view: Tensor,
    openness: Tensor,
    lit: Tensor,
    gloss: Tensor,
    power: Tensor,
) -> Tensor:
    """Return the light (3, B, H, W) that leaves surfaces: diffuse with a soft edge, and Blinn's highlight.

    Args:
        colour: (3, B, H, W) albedo.
        normal, view: (3, B, H, W) unit vectors, out of the surface and to the camera.
        openness: (B, H, W) share of the sky that is seen.
        lit: (B, H, W) share of the key light that arrives.
        gloss, power: strength and exponent of the highlight, (B, H, W) or broadcast to it.
    """
    slope = dot(normal, planes(light.ambient_slope))
    # Light bounces about in a hollow: what is left of it is not quite black, and reddish.
    bounce = openness ** planes(constant(((0.85, 1.05, 1.1),), colour.device))
    energy = planes(light.ambient) * (1 + slope).clamp(min=0.1) * bounce
    wrap = planes(constant((_SUBSURFACE,), colour.device)) + planes(light.wrap)
    highlight = torch.zeros_like(colour)
    for number, arrives in ((0, lit), (1, openness)):
        direction, strength = planes(light.direction[:, number]), planes(light.colour[:, number])
        facing = dot(normal, direction)
        energy = energy + strength * arrives * ((facing + wrap) / (1 + wrap)).clamp(min=0)
        half = dot(normal, unit(view + direction)).clamp(min=0)
        highlight = highlight + strength * (arrives * gloss * half**power)
    return colour * energy + highlight
