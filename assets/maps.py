"""Encoding of the baked maps: the files of the asset, and the JPEGs that go into head.glb.

The texture stage encodes, so that 48 MB of pixels never cross the storage; packaging works from the JPEGs.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from assets.jpeg import encode_jpeg, encode_webp
from assets.materials import name_embedded_map, name_map
from assets.png import encode_png
from face3d.messages import StageResult
from face3d.options import JobOptions, TextureFormat

_PREFIX = "albedo/"


def encode_maps(texture: StageResult, options: JobOptions) -> dict[str, bytes]:
    """Return every encoded map of a texture stage.

    Args:
        texture: tensors `albedo/<material>`, (S, S, 3) uint8 sRGB.
        options: `texture_format` is that of the asset's own files.
    Returns:
        File name to bytes: `albedo.<suffix>` and `albedo_<material>.<suffix>` for the asset,
        `glb/<material>.jpg` for `build_asset`.
    """
    images = {
        name.removeprefix(_PREFIX): np.asarray(array)
        for name, array in texture.tensors.items()
        if name.startswith(_PREFIX)
    }
    # Each large PNG or JPEG spreads over all cores by itself.
    files = {name_embedded_map(material): encode_jpeg(image) for material, image in images.items()}
    for material, image in images.items():
        files[name_map(material, options.texture_format)] = _encode(
            image, options.texture_format, files[name_embedded_map(material)]
        )
    return files


def is_embedded_map(name: str) -> bool:
    """Tell whether a file of `encode_maps` goes into head.glb, rather than into the asset as it is."""
    return name.startswith("glb/")


def select_asset_maps(encoded: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return those of `encode_maps`'s files that belong to the asset as they are."""
    return {name: data for name, data in encoded.items() if not is_embedded_map(name)}


def select_embedded_maps(encoded: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return material to JPEG of those of `encode_maps`'s files that go into head.glb."""
    return {
        name.removeprefix("glb/").removesuffix(".jpg"): data
        for name, data in encoded.items()
        if is_embedded_map(name)
    }


def _encode(image: NDArray[np.uint8], texture_format: TextureFormat, jpeg: bytes) -> bytes:
    if texture_format == "png":
        return encode_png(image)
    return encode_webp(image) if texture_format == "webp" else jpeg
