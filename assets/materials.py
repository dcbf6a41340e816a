"""How each material of a head looks to a renderer, and the file names of its maps."""

from dataclasses import dataclass

from face3d.options import TextureFormat

_SUFFIXES: dict[TextureFormat, str] = {"png": "png", "webp": "webp", "jpeg": "jpg"}


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Parameters of glTF's metallic-roughness model; nothing on a head is metal."""

    roughness: float
    double_sided: bool = False


_SURFACES = {
    "skin": Surface(roughness=0.55),
    "eyes": Surface(roughness=0.08),
    "mouth": Surface(roughness=0.25),
    "lashes": Surface(roughness=0.6, double_sided=True),
}
_PLAIN = Surface(roughness=0.5)


def find_surface(material: str) -> Surface:
    """Return a material's surface; an unknown one is half rough."""
    return _SURFACES.get(material, _PLAIN)


def name_map(material: str, texture_format: TextureFormat) -> str:
    """Return the file name of a material's albedo map: the skin's is `albedo.<suffix>`."""
    stem = "albedo" if material == "skin" else f"albedo_{material}"
    return f"{stem}.{_SUFFIXES[texture_format]}"


def name_embedded_map(material: str) -> str:
    """Return the name of the JPEG that goes into head.glb; it is no file of the asset by itself."""
    return f"glb/{material}.jpg"
