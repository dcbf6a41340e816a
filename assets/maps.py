"""Encoding of the baked maps: the files of the asset, and the pictures that go into head.glb.

The texture stage encodes, so that 48 MB of pixels never cross the storage; packaging works from the JPEGs.
"""

import io
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from assets.jpeg import decode_jpeg, encode_jpeg, encode_webp
from assets.materials import NORMAL, ORM, name_embedded_map, name_map, name_surface_map
from assets.png import encode_png
from assets.threads import LIBRARY_THREADS
from face3d.options import JobOptions, TextureFormat
from face3d.stage_results import BakedMaps, SurfaceImages

#: The further maps in head.glb have this share of the texture's side: what they hold is coarser than colour.
_EMBEDDED_SHARE = 2
_EMBEDDED_QUALITY = 92
#: Rows that are reduced at a time; a multiple of the share.
_REDUCED_ROWS = 256
#: Files that are encoded at once.
_MOST_FILES = 16


def encode_maps(texture: BakedMaps, options: JobOptions) -> dict[str, bytes]:
    """Return every encoded map of a texture stage, file name to bytes; see `iterate_maps`."""
    return dict(iterate_maps(texture, options))


def iterate_maps(
    texture: BakedMaps, options: JobOptions, threads: int = LIBRARY_THREADS
) -> Iterator[tuple[str, bytes]]:
    """Yield every encoded map of a texture stage, file name and bytes, while those after it are encoded.

    The names are `albedo.<suffix>`, `albedo_<material>.<suffix>`, `normal.<suffix>` and so on for the asset,
    `glb/<material>.jpg` (`.png` with coverage), `glb/skin.normal.jpg` and `glb/skin.orm.jpg` for
    `build_asset`.

    Args:
        texture: what the stage baked.
        options: `texture_format` is that of the asset's own files.
        threads: how many encode.
    """
    with (
        ThreadPoolExecutor(threads, "bands") as bands,
        # A thread a file, which mostly waits for its bands: those of one fill the gaps of another.
        ThreadPoolExecutor(_MOST_FILES, "maps") as files,
    ):
        begun = [
            *_begin_albedo(texture, options, files, bands),
            *(_begin_surface(texture.surface, options, files, bands) if texture.surface else ()),
        ]
        for name, future in begun:
            yield name, future.result()


def _begin_albedo(
    texture: BakedMaps, options: JobOptions, files: Executor, bands: Executor
) -> Iterator[tuple[str, Future[bytes]]]:
    for material, image in texture.albedos().items():
        embedded = files.submit(encode_embedded_map, image, bands)
        yield name_embedded_map(material), embedded
        file = name_map(material, options.texture_format)
        if options.texture_format == "webp":
            yield file, files.submit(encode_webp, image)
        elif image.shape[2] == 4 or options.texture_format == "jpeg":
            yield file, embedded
        else:
            yield file, files.submit(encode_png, image, pool=bands)


def _begin_surface(
    surface: SurfaceImages, options: JobOptions, files: Executor, bands: Executor
) -> Iterator[tuple[str, Future[bytes]]]:
    for kind, image in vars(surface).items():
        file = name_surface_map(kind, options.texture_format)
        if file is not None:
            kept: TextureFormat = "png" if file.endswith(".png") else options.texture_format
            yield file, files.submit(_encode_surface, image, kept, bands)
    # What head.glb holds of them.
    yield name_embedded_map("skin" + NORMAL), files.submit(_embed_normals, surface, bands)
    yield name_embedded_map("skin" + ORM), files.submit(_embed_packed, surface, bands)


def is_embedded_map(name: str) -> bool:
    """Tell whether a file of `encode_maps` goes into head.glb, rather than into the asset as it is."""
    return name.startswith("glb/")


def select_asset_maps(encoded: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return those of `encode_maps`'s files that belong to the asset as they are."""
    return {name: data for name, data in encoded.items() if not is_embedded_map(name)}


def select_embedded_maps(encoded: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return material to JPEG or PNG of those of `encode_maps`'s files that go into head.glb.

    Further maps have the material's name with `materials.NORMAL` or `materials.ORM` behind it.
    """
    return {
        name.removeprefix("glb/").rsplit(".", 1)[0]: data
        for name, data in encoded.items()
        if is_embedded_map(name)
    }


def encode_embedded_map(image: NDArray[np.uint8], bands: Executor | None = None) -> bytes:
    """Return a map as head.glb holds it: JPEG, or PNG where it has coverage.

    Args:
        bands: its threads encode a JPEG; some of its own when None.
    """
    return (
        encode_jpeg(image, pool=bands)
        if image.shape[2] == 3
        else _encode_coverage(image.tobytes(), image.shape)
    )


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


def _encode_surface(image: NDArray[np.uint8], texture_format: TextureFormat, bands: Executor) -> bytes:
    if texture_format == "png":
        return encode_png(image, pool=bands, linear=True)
    height, width = image.shape[:2]
    coloured = np.ascontiguousarray(np.broadcast_to(image.reshape(height, width, -1), (height, width, 3)))
    return encode_webp(coloured) if texture_format == "webp" else encode_jpeg(coloured, pool=bands)


def _embed_normals(surface: SurfaceImages, bands: Executor) -> bytes:
    small = _reduce(surface.normal, bands)
    return encode_jpeg(small, quality=_EMBEDDED_QUALITY, pool=bands)


def _embed_packed(surface: SurfaceImages, bands: Executor) -> bytes:
    roughness = _reduce(surface.roughness, bands)
    packed = np.zeros((*roughness.shape, 3), np.uint8)
    packed[..., 0] = _reduce(surface.occlusion, bands)
    packed[..., 1] = roughness
    return encode_jpeg(packed, quality=_EMBEDDED_QUALITY, pool=bands)


def _reduce(image: NDArray[np.uint8], bands: Executor) -> NDArray[np.uint8]:
    """Return a map as large as head.glb holds it: each texel the mean of those it stands for."""
    parts = [image[start : start + _REDUCED_ROWS] for start in range(0, len(image), _REDUCED_ROWS)]
    reduced = bands.map(lambda part: np.asarray(Image.fromarray(part).reduce(_EMBEDDED_SHARE)), parts)
    return np.concatenate(list(reduced))
