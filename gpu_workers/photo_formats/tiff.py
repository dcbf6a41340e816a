"""What Pillow reads wrongly, without a word, in TIFFs of over eight bits (TIFF 6.0, sections 3, 8 and 19)."""

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from gpu_workers.photo_formats.errors import UnreadableError

_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO = 0
_SEPARATE_PLANES = 2
_UNSIGNED = 1


def check_layout(picture: TiffImageFile) -> None:
    """Refuse planes of 16 bits, each apart: Pillow reads their bytes as pixels of eight.

    Raises:
        UnreadableError: it is such a file.
    """
    bits = picture.tag_v2.get(_BITS, (1,))
    if picture.tag_v2.get(_PLANAR) == _SEPARATE_PLANES and max(bits) > 8:
        raise UnreadableError


def resolve_depth(picture: TiffImageFile) -> Image.Image:
    """Return a loaded picture with black at zero, and whole numbers of 32 bits cut to the upper 16."""
    if picture.mode.startswith("I;16") and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return Image.fromarray(65535 - np.asarray(picture).astype(np.uint16))
    if picture.mode == "I":
        unsigned = picture.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED
        values = np.asarray(picture)
        wide = values.view(np.uint32) if unsigned else np.maximum(values, 0).astype(np.uint32)
        # Some programs keep smaller numbers in 32 bits: upright.py looks how large they are.
        if wide.max(initial=0) > 65535:
            return Image.fromarray((wide >> (16 if unsigned else 15)).astype(np.uint16))
    return picture
