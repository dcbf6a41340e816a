"""What the lips do by their own muscles, on the template: round, roll, press, shrug, shift."""

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head_authoring.shapes.lip_frame import LipFrame

FloatArray = NDArray[np.float64]

_MM = 0.001
#: Rings that a movement of the whole lips holds, and metres from the mouth's middle that it reaches.
_LIPS, _REACH = (-2, 6), 0.062


def part_lips(lips: LipFrame, up: float, down: float, *, wide: float = 0.0) -> FloatArray:
    """Return moves (S, 3) that lift the upper lip and lower the lower one.

    Args:
        up, down: metres at the middles; wide: metres that each corner goes outwards.
    """
    moves = lips.still()
    moves[..., 1] = lips.height * np.where(lips.upper, up, -down)
    moves[..., 0] = wide * np.sign(lips.rest[..., 0]) * lips.aside**2
    return lips.spread(moves, _LIPS, 0.055)


def pucker(lips: LipFrame) -> FloatArray:
    """Return mouthPucker (S, 3): lips drawn together and forward, closed."""
    return _round(lips, narrow=0.58, forward=8.5 * _MM, corner=3.0 * _MM, opened=0.0, thick=1.2)


def funnel(lips: LipFrame) -> FloatArray:
    """Return mouthFunnel (S, 3): lips drawn forward into a round opening."""
    return _round(lips, narrow=0.57, forward=8.5 * _MM, corner=3.0 * _MM, opened=7.5 * _MM, thick=1.05)


def _round(
    lips: LipFrame, *, narrow: float, forward: float, corner: float, opened: float, thick: float
) -> FloatArray:
    """Return moves (S, 3) of the ring muscle.

    Args:
        narrow, thick: factors on the mouth's width and the lips' height.
        forward, corner: metres at the middle, and those that corners go further.
        opened: metres by which each lip leaves the other at its middle.
    """
    outer = smoothstep(((lips.ring - 2) / 10.0).clip(0, 1))
    moves = lips.still()
    moves[..., 0] = lips.rest[..., 0] * (narrow - 1) * (1 - 0.35 * outer)
    moves[..., 2] = (forward + corner * lips.aside**2) * (1 - 0.3 * outer)
    line = lips.rest[lips.grid.border, :, 1]
    moves[..., 1] = (thick - 1) * (lips.rest[..., 1] - line) * (lips.ring > 0)
    moves[..., 1] += lips.height * np.where(lips.upper, opened, -opened) * (1 - 0.5 * outer)
    return lips.spread(moves, _LIPS, _REACH)


def roll(lips: LipFrame, *, upper: bool) -> FloatArray:
    """Return mouthRollUpper or mouthRollLower (S, 3): one lip curls inwards over its teeth.

    Each ring takes the place of one further inside, so that the red disappears as it does in a mirror.
    """
    # Inside, the rings crowd together and keep their order.
    rolled = np.interp(lips.ring[:, 0], [-4, 0, 5, 8, 11], [0.0, 2.4, 3.4, 1.6, 0.0])
    ring = lips.ring[:, 0].astype(float)
    moves = lips.still()
    for column in np.flatnonzero(lips.upper == upper):
        share = lips.height[lips.grid.border, column]
        for axis in range(3):
            line = lips.rest[:, column, axis]
            moves[:, column, axis] = np.interp(ring - share * rolled, ring, line) - line
    # Inner and outer side go back to the teeth together.
    ramp = smoothstep(((lips.ring + 4) / 2.0).clip(0, 1)) * smoothstep(((11 - lips.ring) / 6.0).clip(0, 1))
    moves[..., 2] += -2.5 * _MM * lips.height * (lips.upper == upper) * ramp
    return lips.spread(moves, (-4, 9), 0.05)


def press(lips: LipFrame, sign: int) -> FloatArray:
    """Return mouthPressLeft (sign 1) or mouthPressRight (-1), (S, 3): lips thin out against each other."""
    side = lips.side(sign)
    moves = lips.still()
    line = lips.rest[lips.grid.border, :, 1]
    thin = -0.32 * smoothstep((lips.ring / 3.0).clip(0, 1)) * smoothstep(((10 - lips.ring) / 4.0).clip(0, 1))
    moves[..., 1] = side * thin * (lips.rest[..., 1] - line) * (lips.ring > 0)
    moves[..., 1] += side * 1.0 * _MM * lips.aside**2
    moves[..., 2] = -side * 1.3 * _MM * (0.3 + 0.7 * lips.height)
    moves[..., 0] = sign * side * 1.8 * _MM * lips.aside**2
    return lips.spread(moves, (-2, 7), 0.055)


def shrug_upper(lips: LipFrame) -> FloatArray:
    """Return mouthShrugUpper (S, 3): the upper lip is pushed up and out; the lower one keeps to it."""
    moves = lips.still()
    rise = np.where(lips.upper, 3.8, 3.3) * _MM
    moves[..., 1] = rise * (0.15 + 0.85 * lips.height)
    moves[..., 2] = np.where(lips.upper, 2.2, 1.0) * _MM * lips.height
    return lips.spread(moves, _LIPS, 0.055)


def shrug_lower(lips: LipFrame) -> FloatArray:
    """Return mouthShrugLower (S, 3): the chin's muscle lifts chin and lower lip, and with it the upper."""
    moves = lips.still()
    moves[..., 1] = np.where(lips.upper, 3.0, 3.6) * _MM * (0.1 + 0.9 * lips.height)
    moves[..., 2] = np.where(lips.upper, 0.6, 2.6) * _MM * lips.height
    chin = np.array([0.0, -0.107, 0.021])
    near = np.linalg.norm(lips.skin - chin, axis=1)
    pad = np.flatnonzero((near < 0.008) & (lips.skin[:, 2] > 0.01))
    lifted = np.tile([0.0, 4.0 * _MM, 0.8 * _MM], (len(pad), 1))
    return lips.spread(moves, _LIPS, 0.058, (pad, lifted))


def shift(lips: LipFrame, sign: int) -> FloatArray:
    """Return mouthLeft (sign 1) or mouthRight (-1), (S, 3): both lips slide aside along the teeth."""
    outer = smoothstep(((lips.ring - 3) / 9.0).clip(0, 1))
    moves = lips.still()
    aside = sign * 8.0 * _MM * (1 - 0.4 * outer)
    moves[..., 0] = aside
    towards = sign * lips.rest[..., 0] / np.abs(lips.rest[:, [0], 0])
    moves[..., 2] = (
        0.75 * lips.along_arch(lips.rest[..., 0] + aside).clip(-6 * _MM, 6 * _MM) * (1 - 0.5 * outer)
    )
    moves[..., 1] = 1.2 * _MM * towards
    return lips.spread(moves, (-2, 5), 0.068)
