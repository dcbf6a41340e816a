"""Photos brighter than a screen's white (PQ and HLG) to sRGB.

What a screen shows at ordinary brightness keeps its colours exactly; brighter light is bent below white. One
factor for all three channels, so that bright skin keeps its hue.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from face3d import srgb
from gpu_workers.photo_formats.code_points import HLG, PQ, SRGB_PRIMARIES
from gpu_workers.photo_formats.icc import Primaries, rgb_to_xyz

#: White of a page, candela per square metre: ITU-R BT.2408-7, section 2.1.
_REFERENCE_WHITE = 203.0
#: Nominal peak of a display of HLG, and the gamma of its system: ITU-R BT.2100-3, table 5.
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2
#: Linear light, in page whites, up to which nothing is changed.
_KNEE = 0.8
#: Rows at once: what their floats take stays far below the decoder's memory limit.
_BAND_PIXELS = 2**20
#: Steps of the table from linear light to sRGB.
_OUTPUT_STEPS = 4096


def bend_to_srgb(
    pixels: NDArray[np.unsignedinteger], transfer: int, primaries: Primaries
) -> NDArray[np.uint8]:
    """Return 8-bit sRGB of code values of PQ or HLG.

    Args:
        pixels: (H, W, 3) of 8 or 16 bits.
        transfer: PQ or HLG, a code point of H.273.
    Returns:
        (H, W, 3) uint8.
    """
    table = _light_table(transfer, np.iinfo(pixels.dtype).max)
    source = rgb_to_xyz(primaries)
    matrix = (np.linalg.inv(rgb_to_xyz(SRGB_PRIMARIES)) @ source).astype(np.float32)
    luminance = source[1].astype(np.float32)
    output = _output_table()
    result = np.empty(pixels.shape, np.uint8)
    rows = max(1, _BAND_PIXELS // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        light = table[pixels[top : top + rows]]
        if transfer == HLG:
            light *= np.maximum(light @ luminance, 1e-6)[..., None] ** (_HLG_GAMMA - 1)
            light *= _HLG_PEAK / _REFERENCE_WHITE
        light = np.maximum(light @ matrix.T, 0)
        brightest = light.max(axis=-1, keepdims=True)
        over = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
        bent = np.minimum(brightest, _KNEE) + (1 - _KNEE) * -np.expm1(-over)
        light *= bent / np.maximum(brightest, 1e-6)
        result[top : top + rows] = output[(light * (_OUTPUT_STEPS - 1) + 0.5).astype(np.uint16)]
    return result


@lru_cache(maxsize=4)
def _light_table(transfer: int, largest: int) -> NDArray[np.float32]:
    """Return light by code value (BT.2100-3, tables 4 and 5): of PQ in page whites, of HLG the scene's."""
    code = np.linspace(0, 1, largest + 1)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = code ** (1 / m2)
        light = 10000 / _REFERENCE_WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return light.astype(np.float32)


@lru_cache(maxsize=1)
def _output_table() -> NDArray[np.uint8]:
    return (255 * srgb.encode(np.linspace(0, 1, _OUTPUT_STEPS)) + 0.5).astype(np.uint8)
