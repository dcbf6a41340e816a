"""A small portrait, and the same light in other colour spaces, by formulas of their own.

The formulas are those of the standards (IEC 61966-2-1, Adobe RGB (1998), SMPTE EG 432-1, ITU-R BT.2020 and
BT.2100), written apart from the product's.
"""

import numpy as np
import skimage.data
from PIL import Image

#: Linear sRGB to linear light of others; rows are red, green and blue there (D65 on both sides).
MATRICES = {
    "adobe_rgb": [[0.715119, 0.284881, 0.0], [0.0, 1.0, 0.0], [0.0, 0.041169, 0.958831]],
    "display_p3": [[0.822462, 0.177538, 0.0], [0.033194, 0.966806, 0.0], [0.017083, 0.072397, 0.910520]],
    "bt2020": [
        [0.627404, 0.329283, 0.043313],
        [0.069097, 0.919540, 0.011362],
        [0.016391, 0.088013, 0.895595],
    ],
}


def portrait() -> np.ndarray:
    """Return (128, 128, 3) uint8: NASA's portrait of Eileen Collins; much is orange, nothing symmetric."""
    picture = Image.fromarray(skimage.data.astronaut()).crop((64, 100, 320, 356))
    return np.array(picture.resize((128, 128), Image.Resampling.LANCZOS))


def linear(values: np.ndarray) -> np.ndarray:
    """Return linear light of sRGB values in 0..1."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb(light: np.ndarray) -> np.ndarray:
    """Return sRGB values in 0..1 of linear light."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def to_rgb_space(values: np.ndarray, name: str) -> np.ndarray:
    """Return the values in 0..1 that mean the same as those in sRGB; `display_p3` and `adobe_rgb`."""
    light = np.clip(linear(values) @ np.array(MATRICES[name]).T, 0, 1)
    return light ** (256 / 563) if name == "adobe_rgb" else srgb(light)


def to_gamma(values: np.ndarray, gamma: float) -> np.ndarray:
    """Return the values in 0..1 of a pure power that mean the same as those in sRGB."""
    return linear(values) ** (1 / gamma)


def to_bt2020(values: np.ndarray) -> np.ndarray:
    """Return BT.2020's values in 0..1, by its own curve."""
    light = np.clip(linear(values) @ np.array(MATRICES["bt2020"]).T, 0, 1)
    return np.where(light < 0.018054, 4.5 * light, 1.099297 * light**0.45 - 0.099297)


def encode_pq(values: np.ndarray) -> np.ndarray:
    """Return PQ values in 0..1 with BT.2020's primaries; white is 203 candela per square metre."""
    light = np.clip(linear(values) @ np.array(MATRICES["bt2020"]).T, 0, 1) * 203 / 10000
    power = light**0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def encode_hlg(values: np.ndarray) -> np.ndarray:
    """Return HLG values in 0..1 with BT.2020's primaries; white is 203 of a display of 1000."""
    shown = np.clip(linear(values) @ np.array(MATRICES["bt2020"]).T, 0, 1) * 0.203
    luminance = np.maximum(shown @ [0.2627, 0.6780, 0.0593], 1e-9)[..., None]
    scene = shown * luminance ** (1 / 1.2 - 1)
    return np.where(
        scene <= 1 / 12,
        np.sqrt(3 * scene),
        0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073,
    )


def turned(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Return the picture as a camera stores it that writes this EXIF orientation."""
    return np.ascontiguousarray(
        {
            1: picture,
            2: picture[:, ::-1],
            3: picture[::-1, ::-1],
            4: picture[::-1],
            5: picture.transpose(1, 0, 2),
            6: np.rot90(picture),
            7: picture[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(picture, -1),
        }[orientation]
    )


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean difference of two pictures, of 255."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())
