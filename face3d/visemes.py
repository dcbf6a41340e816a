"""Recipes of ARKit shapes: the visemes that are keys of the asset, and VRM 1.0's expressions.

A recipe is shape to weight; a viseme's key at 1.0 is the sum of its recipe's shapes.
"""

from collections.abc import Mapping

import numpy as np

from face3d.head import ARKIT_NAMES, VISEME_NAMES, FloatArray

Recipe = Mapping[str, float]


def _both(recipe: Recipe) -> Recipe:
    """Return a recipe in which a shape without side stands for its left and its right one."""
    whole: dict[str, float] = {}
    for name, weight in recipe.items():
        names = [name] if name in ARKIT_NAMES else [f"{name}Left", f"{name}Right"]
        whole |= dict.fromkeys(names, weight)
    return whole


#: By articulation: lips pressed for PP, the lower lip at the upper teeth for FF, the tongue's tip out for TH
#: and up behind the teeth for DD and nn, teeth together and lips apart for CH and SS, lips rounded for CH,
#: RR, O and U, spread for E and I.
VISEME_RECIPES: Mapping[str, Recipe] = {
    name: _both(recipe)
    for name, recipe in {
        "viseme_PP": {"mouthPress": 0.6, "mouthShrugLower": 0.1},
        "viseme_FF": {"mouthRollLower": 0.55, "mouthUpperUp": 0.25, "mouthShrugLower": 0.55},
        "viseme_TH": {"jawOpen": 0.05, "tongueOut": 0.35, "mouthUpperUp": 0.1},
        "viseme_DD": {"jawOpen": 0.06, "tongueOut": 0.12, "mouthUpperUp": 0.15, "mouthLowerDown": 0.25},
        "viseme_kk": {"jawOpen": 0.13, "mouthUpperUp": 0.15, "mouthLowerDown": 0.2, "mouthStretch": 0.15},
        "viseme_CH": {"jawOpen": 0.02, "mouthFunnel": 0.55, "mouthPucker": 0.15, "mouthLowerDown": 0.05},
        "viseme_SS": {"jawOpen": 0.02, "mouthUpperUp": 0.3, "mouthLowerDown": 0.4, "mouthStretch": 0.3},
        "viseme_nn": {"jawOpen": 0.04, "tongueOut": 0.1, "mouthUpperUp": 0.1, "mouthLowerDown": 0.2},
        "viseme_RR": {"jawOpen": 0.08, "mouthFunnel": 0.35, "mouthPucker": 0.3},
        "viseme_aa": {"jawOpen": 0.42, "mouthUpperUp": 0.15, "mouthLowerDown": 0.15},
        "viseme_E": {
            "jawOpen": 0.18,
            "mouthStretch": 0.35,
            "mouthSmile": 0.15,
            "mouthUpperUp": 0.1,
            "mouthLowerDown": 0.15,
        },
        "viseme_I": {
            "jawOpen": 0.1,
            "mouthStretch": 0.35,
            "mouthSmile": 0.35,
            "mouthUpperUp": 0.1,
            "mouthLowerDown": 0.1,
        },
        "viseme_O": {"jawOpen": 0.24, "mouthFunnel": 0.5, "mouthPucker": 0.2},
        "viseme_U": {"jawOpen": 0.06, "mouthPucker": 0.75, "mouthFunnel": 0.25},
    }.items()
}

#: VRM 1.0's preset expressions (VRMC_vrm 1.0, expressions): `neutral` is the head at rest.
VRM_RECIPES: Mapping[str, Recipe] = {
    name: _both(recipe)
    for name, recipe in {
        "happy": {"mouthSmile": 0.8, "cheekSquint": 0.6, "eyeSquint": 0.3, "mouthUpperUp": 0.2},
        "angry": {
            "browDown": 0.9, "eyeSquint": 0.4, "noseSneer": 0.35, "mouthPress": 0.4, "mouthFrown": 0.35,
            "jawForward": 0.2,
        },
        "sad": {"browInnerUp": 0.8, "mouthFrown": 0.7, "mouthShrugLower": 0.35, "eyeLookDown": 0.2},
        "relaxed": {"mouthSmile": 0.3, "eyeBlink": 0.35, "browOuterUp": 0.15},
        "surprised": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.8, "jawOpen": 0.3},
        "neutral": {},
        "blink": {"eyeBlink": 1.0},
        "blinkLeft": {"eyeBlinkLeft": 1.0},
        "blinkRight": {"eyeBlinkRight": 1.0},
        "lookUp": {"eyeLookUp": 1.0},
        "lookDown": {"eyeLookDown": 1.0},
        "lookLeft": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
        "lookRight": {"eyeLookInLeft": 1.0, "eyeLookOutRight": 1.0},
    }.items()
} | {
    vowel: VISEME_RECIPES[viseme]
    for vowel, viseme in {
        "aa": "viseme_aa", "ih": "viseme_I", "ou": "viseme_U", "ee": "viseme_E", "oh": "viseme_O",
    }.items()
}  # fmt: skip


def viseme_matrix() -> FloatArray:
    """Return (14, 52): the weight of each ARKit shape in each viseme."""
    matrix = np.zeros((len(VISEME_NAMES), len(ARKIT_NAMES)), np.float32)
    for row, name in enumerate(VISEME_NAMES):
        for shape, weight in VISEME_RECIPES[name].items():
            matrix[row, ARKIT_NAMES.index(shape)] = weight
    return matrix
