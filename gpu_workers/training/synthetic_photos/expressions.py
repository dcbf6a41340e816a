"""Random expressions: recipes of ARKIT shapes that occur together, each on with its own probability."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from face3d.head import ARKIT_NAMES
from gpu_workers.training.constants import constant
from gpu_workers.training.synthetic_photos.dice import Dice


class Recipe(NamedTuple):
    """Shapes that move together; a name without a side means both sides."""

    chance: float
    #: Range of the strength; drawn uniformly and raised to `power`.
    low: float
    high: float
    power: float
    #: Shape to its share of the strength; shares below 1 vary from head to head.
    shapes: dict[str, float]


_SMILE = {
    "mouthSmile": 1.0, "cheekSquint": 0.35, "eyeSquint": 0.3, "mouthUpperUp": 0.3, "mouthLowerDown": 0.2,
    "mouthDimple": 0.2,
}  # fmt: skip
RECIPES: tuple[Recipe, ...] = (
    Recipe(0.40, 0.1, 0.9, 1.0, _SMILE),
    Recipe(0.22, 0.0, 0.85, 2.0, {"jawOpen": 1.0}),
    Recipe(0.08, 0.05, 0.7, 1.0, {"jawOpen": 1.0, "mouthClose": 0.9}),
    Recipe(0.34, 0.0, 0.5, 1.0, {"eyeBlink": 1.0}),
    Recipe(0.06, 0.5, 1.0, 1.0, {"eyeBlink": 1.0}),
    Recipe(0.12, 0.0, 0.7, 1.0, {"eyeWide": 1.0}),
    Recipe(0.25, 0.0, 0.7, 1.0, {"eyeSquint": 1.0}),
    Recipe(0.20, 0.0, 0.7, 1.0, {"browInnerUp": 1.0}),
    Recipe(0.20, 0.0, 0.8, 1.0, {"browDown": 1.0, "noseSneer": 0.15}),
    Recipe(0.15, 0.0, 0.7, 1.0, {"browOuterUp": 1.0}),
    Recipe(0.10, 0.0, 0.6, 1.0, {"mouthPucker": 1.0}),
    Recipe(0.10, 0.0, 0.6, 1.0, {"mouthFunnel": 1.0}),
    Recipe(0.10, 0.0, 0.6, 1.0, {"mouthRollLower": 1.0}),
    Recipe(0.10, 0.0, 0.6, 1.0, {"mouthRollUpper": 1.0}),
    Recipe(0.10, 0.0, 0.6, 1.0, {"mouthShrugLower": 1.0}),
    Recipe(0.10, 0.0, 0.6, 1.0, {"mouthShrugUpper": 1.0}),
    Recipe(0.08, 0.0, 0.6, 1.0, {"cheekPuff": 1.0}),
    Recipe(0.08, 0.0, 0.6, 1.0, {"jawForward": 1.0}),
    Recipe(0.12, 0.0, 0.6, 1.0, {"mouthFrown": 1.0}),
    Recipe(0.12, 0.0, 0.6, 1.0, {"mouthPress": 1.0}),
    Recipe(0.12, 0.0, 0.6, 1.0, {"mouthStretch": 1.0}),
    Recipe(0.10, 0.0, 0.6, 1.0, {"noseSneer": 1.0, "mouthUpperUp": 0.4}),
    Recipe(0.10, 0.0, 0.6, 1.0, {"mouthLowerDown": 1.0}),
    Recipe(0.04, 0.0, 0.5, 1.0, {"jawLeft": 1.0}),
    Recipe(0.04, 0.0, 0.5, 1.0, {"jawRight": 1.0}),
    Recipe(0.04, 0.0, 0.5, 1.0, {"mouthLeft": 1.0}),
    Recipe(0.04, 0.0, 0.5, 1.0, {"mouthRight": 1.0}),
)
#: Difference between the sides of the face, as a share of the strength.
_ASYMMETRY = 0.12
#: How far the eyes turn, as shares of the ARKit shapes: to the side and up or down.
_GAZE_SIDE, _GAZE_UP = 0.3, 0.22
_GAZE = (
    ("eyeLookOutLeft", "eyeLookInRight"),
    ("eyeLookInLeft", "eyeLookOutRight"),
    ("eyeLookUpLeft", "eyeLookUpRight"),
    ("eyeLookDownLeft", "eyeLookDownRight"),
)


def _sides(name: str) -> list[int]:
    names = [name] if name in ARKIT_NAMES else [f"{name}Left", f"{name}Right"]
    return [ARKIT_NAMES.index(one) for one in names]


@lru_cache(maxsize=8)
def _matrix(device: torch.device) -> Tensor:
    """Return (R, 52): the share of each shape in each recipe."""
    matrix = torch.zeros(len(RECIPES), len(ARKIT_NAMES))
    for row, recipe in enumerate(RECIPES):
        for name, share in recipe.shapes.items():
            matrix[row, _sides(name)] = share
    return matrix.to(device)


def sample_expressions(dice: Dice) -> Tensor:
    """Return (B, 52) ARKit weights in 0..1, in the order of ARKIT_NAMES."""
    device = dice.device
    columns = constant(tuple(recipe[:4] for recipe in RECIPES), device).T
    count = len(RECIPES)
    strength = columns[1] + (columns[2] - columns[1]) * dice.uniform(0, 1, count) ** columns[3]
    strength = strength * (dice.uniform(0, 1, count) < columns[0])
    matrix = _matrix(device)
    # What only accompanies a shape comes in any strength up to twice its share.
    share = torch.where(matrix < 1, matrix * 2 * dice.uniform(0, 1, count, 1), matrix)
    weights = torch.einsum("br,bra->ba", strength, share)
    weights = weights * (1 + dice.normal(_ASYMMETRY, len(ARKIT_NAMES)))
    return _turn_eyes(weights, dice).clamp(0, 1)


def _turn_eyes(weights: Tensor, dice: Dice) -> Tensor:
    side = dice.normal(_GAZE_SIDE).clamp(-0.8, 0.8)
    up = dice.normal(_GAZE_UP).clamp(-0.6, 0.6)
    turns = torch.stack([side, -side, up, -up], 1).clamp(min=0)
    rows = tuple(tuple(float(name in group) for name in ARKIT_NAMES) for group in _GAZE)
    return weights + turns @ constant(rows, dice.device)
