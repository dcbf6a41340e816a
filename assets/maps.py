"""Encoding of the baked maps: the files of the asset, and the pictures that go into head.glb.

The texture stage encodes, so that 48 MB of pixels never cross the storage; packaging works from the JPEGs.
"""

import io
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.jpeg import decode_jpeg, encode_jpeg, encode_webp
from assets.materials import name_embedded_map, name_map
from assets.png import encode_png
from face3d.messages import StageResult
from face3d.options import JobOptions, TextureFormat

_PREFIX = "albedo/"


def encode_maps(texture: StageResult, options: JobOptions) -> dict[str, bytes]:
    """Return every encoded map of a texture stage.

    Args:
        texture: tensors `albedo/<material>`, (S, S, 3) uint8 sRGB, or (S, S, 4) with coverage.
        options: `texture_format` is that of the asset's own files.
    Returns:
        File name to bytes: `albedo.<suffix>` and `albedo_<material>.<suffix>` for the asset,
        `glb/<material>.jpg` (`.png` with coverage) for `build_asset`.
    """
    images = {
        name.removeprefix(_PREFIX): np.asarray(array)
        for name, array in texture.tensors.items()
        if name.startswith(_PREFIX)
    }
    # Each large PNG or JPEG spreads over all cores by itself.
    files = {name_embedded_map(material): encode_embedded_map(image) for material, image in images.items()}
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
    """Return material to JPEG or PNG of those of `encode_maps`'s files that go into head.glb."""
    return {
        name.removeprefix("glb/").rsplit(".", 1)[0]: data
        for name, data in encoded.items()
        if is_embedded_map(name)
    }


def encode_embedded_map(image: NDArray[np.uint8]) -> bytes:
    """Return a map as head.glb holds it: JPEG, or PNG where it has coverage."""
    return encode_jpeg(image) if image.shape[2] == 3 else _encode_coverage(image.tobytes(), image.shape)


def decode_embedded_map(data: bytes, *, min_side: int = 0) -> NDArray[np.uint8]:
    """Return what `encode_embedded_map` encoded; see `decode_jpeg` for `min_side`."""
    if data.startswith(b"\x89PNG"):
        return np.asarray(Image.open(io.BytesIO(data)))
    return decode_jpeg(data, min_side=min_side)


@lru_cache(maxsize=2)
def _encode_coverage(pixels: bytes, shape: tuple[int, ...]) -> bytes:
    """Return an RGBA picture as PNG; lashes are the same for every person, so they are encoded once."""
    buffer = io.BytesIO()
    Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(shape)).save(buffer, "PNG")
    return buffer.getvalue()


def _encode(image: NDArray[np.uint8], texture_format: TextureFormat, embedded: bytes) -> bytes:
    if texture_format == "webp":
        return encode_webp(image)
    if image.shape[2] == 4 or texture_format == "jpeg":
        return embedded
    return encode_png(image)
