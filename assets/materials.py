"""How each material of a head looks to a renderer, and the file names of its maps."""

from dataclasses import dataclass

from face3d.options import TextureFormat

_SUFFIXES: dict[TextureFormat, str] = {"png": "png", "webp": "webp", "jpeg": "jpg"}


@dataclass(frozen=True, kw_only=True)
class Surface:
    """Parameters of glTF's metallic-roughness model; nothing on a head is metal."""

    roughness: float
    #: Strength of its mirroring, of a plain dielectric's: little where lips shade what would be mirrored.
    specular: float = 1.0
    #: What light passes through has a refractive index, from which `specular` follows; None: it is opaque.
    refraction: float | None = None
    double_sided: bool = False
    #: How dark the preview's shadow is on it: less where much light is scattered from around.
    shadowed: float = 1.0
    #: Blended over what lies behind: by its map's fourth channel, or by `tint`.
    transparent: bool = False
    #: Linear RGB and coverage of a material that has no map.
    tint: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 1.0)

    @property
    def mirroring_gain(self) -> float:
        """What makes up for the coverage that readers multiply a clear surface's mirroring by."""
        return 1 / self.tint[3] if self.refraction is not None else 1.0


def mirror(refraction: float) -> float:
    """Return what a surface mirrors of light that falls straight on it (Fresnel)."""
    return ((refraction - 1) / (refraction + 1)) ** 2


#: What a plain dielectric mirrors; refractive index 1.5.
PLAIN_MIRRORED = mirror(1.5)
#: Of the human cornea (Gullstrand's eye).
_CORNEA_INDEX = 1.376
#: Coverage and grey of a clear surface, seen by nobody: 3 % of pupil and white in readers without
#: transmission, and in those that have it. Blender's shadow rays pass it, which glass would stop. What it
#: mirrors is written stronger for it (`mirroring_gain`).
_CLEAR_COVERAGE, _CLEAR_GREY = 0.08, 0.4

#: Eyes are wet, but it is the cornea over them that mirrors: a sharp highlight on both would be a double one.
_SURFACES = {
    "skin": Surface(roughness=0.55, specular=0.7),
    "eyes": Surface(roughness=0.45, shadowed=0.6),
    "cornea": Surface(
        roughness=0.02,
        specular=mirror(_CORNEA_INDEX) / PLAIN_MIRRORED,
        transparent=True,
        refraction=_CORNEA_INDEX,
        tint=(_CLEAR_GREY, _CLEAR_GREY, _CLEAR_GREY, _CLEAR_COVERAGE),
    ),
    "mouth": Surface(roughness=0.3, specular=0.25, shadowed=0.25),
    "front": Surface(roughness=0.55, specular=0.7),
    # Seen from below: skin in the shade.
    "neck_cap": Surface(roughness=0.9, specular=0.3, tint=(0.26, 0.15, 0.115, 1.0)),
    "bust": Surface(roughness=0.52, specular=0.7),
    "lashes": Surface(roughness=0.6, specular=0.3, double_sided=True, transparent=True),
}
_PLAIN = Surface(roughness=0.5)


def find_surface(material: str) -> Surface:
    """Return a material's surface; an unknown one is half rough."""
    return _SURFACES.get(material, _PLAIN)


def name_map(material: str, texture_format: TextureFormat) -> str:
    """Return the file name of a material's albedo map: the skin's is `albedo.<suffix>`.

    JPEG has no coverage: a transparent material's map is PNG there.
    """
    stem = "albedo" if material == "skin" else f"albedo_{material}"
    kept: TextureFormat = (
        "png" if texture_format == "jpeg" and find_surface(material).transparent else texture_format
    )
    return f"{stem}.{_SUFFIXES[kept]}"


def name_opaque_map(material: str) -> str:
    """Return the file name of the colours alone of a transparent material's map."""
    return f"albedo_{material}_opaque.png"


def name_coverage_map(material: str) -> str:
    """Return the file name of the coverage alone of a transparent material's map."""
    return f"coverage_{material}.png"


#: The skin's maps besides its albedo: the engine's name to the file's stem.
_SURFACE_MAPS = {
    "normal": "normal", "roughness": "roughness", "occlusion": "ao", "displacement": "displacement",
}  # fmt: skip
#: What head.glb holds besides albedo maps: tangent-space normals; occlusion, roughness and metalness in red,
#: green and blue. Appended to the material's name.
NORMAL, ORM = ".normal", ".orm"


def name_surface_map(kind: str, texture_format: TextureFormat) -> str | None:
    """Return the file name of one of the skin's further maps, None for what is none.

    Displacement has 16 bits, which only PNG keeps.
    """
    if kind not in _SURFACE_MAPS:
        return None
    kept: TextureFormat = "png" if kind == "displacement" else texture_format
    return f"{_SURFACE_MAPS[kind]}.{_SUFFIXES[kept]}"


def name_embedded_map(material: str) -> str:
    """Return the name of the picture that goes into head.glb; it is no file of the asset by itself."""
    return f"glb/{material}.{'png' if find_surface(material).transparent else 'jpg'}"
