"""The materials of a glTF file: metallic-roughness, with what the extensions of the eyes and mouth add."""

from collections.abc import Mapping
from typing import Any

from assets.gltf_buffer import Buffer
from assets.materials import NORMAL, ORM, find_surface

_SPECULAR, _TRANSMISSION, _IOR = "KHR_materials_specular", "KHR_materials_transmission", "KHR_materials_ior"
_LINEAR, _LINEAR_MIPMAP, _CLAMP = 9729, 9987, 33071


class MaterialWriter:
    """Writes the materials of one file; slots that have the same textures share them.

    Args:
        textures: material to JPEG or PNG bytes; with `NORMAL` or `ORM` behind the name: its normals, and its
            occlusion, roughness and metalness.
    """

    def __init__(self, buffer: Buffer, textures: Mapping[str, bytes]) -> None:
        self._buffer, self._textures = buffer, textures
        self._images: list[dict[str, Any]] = []
        self._known: dict[str, int] = {}
        self._extensions: dict[str, None] = {}

    def write(self, slot: str, material: str) -> dict[str, Any]:
        """Return a slot's material, with the textures of `material`; without one it has its tint."""
        surface = find_surface(material)
        pbr: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": surface.roughness}
        written: dict[str, Any] = {"name": slot, "pbrMetallicRoughness": pbr}
        if albedo := self._refer(material, f"albedo_{material}"):
            pbr["baseColorTexture"] = albedo
        else:
            pbr["baseColorFactor"] = list(surface.tint)
        if packed := self._refer(material + ORM, f"occlusion_roughness_metalness_{material}"):
            pbr["metallicRoughnessTexture"] = packed
            pbr["roughnessFactor"] = 1.0
            written["occlusionTexture"] = dict(packed)
        if normal := self._refer(material + NORMAL, f"normal_{material}"):
            written["normalTexture"] = normal
        if surface.double_sided:
            written["doubleSided"] = True
        if surface.transparent:
            written["alphaMode"] = "BLEND"
        extensions: dict[str, dict[str, Any]] = {}
        if surface.refraction is not None:
            extensions[_TRANSMISSION] = {"transmissionFactor": 1.0}
            extensions[_IOR] = {"ior": surface.refraction}
            # The factor ends at one, the colour does not.
            extensions[_SPECULAR] = {"specularColorFactor": [surface.mirroring_gain] * 3}
        elif surface.specular < 1:
            extensions[_SPECULAR] = {"specularFactor": surface.specular}
        if extensions:
            written["extensions"] = extensions
            self._extensions |= dict.fromkeys(extensions)
        return written

    def complete(self, document: dict[str, Any]) -> None:
        """Add to a document what its materials need."""
        if self._extensions:
            document["extensionsUsed"] = sorted(self._extensions)
        if self._images:
            document["images"] = self._images
            document["samplers"] = [
                {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP, "wrapS": _CLAMP, "wrapT": _CLAMP}
            ]
            document["textures"] = [{"source": i, "sampler": 0} for i in range(len(self._images))]

    def _refer(self, key: str, title: str) -> dict[str, int] | None:
        if key not in self._textures:
            return None
        if key not in self._known:
            data = self._textures[key]
            kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
            self._images.append({"name": title, "mimeType": kind, "bufferView": self._buffer.add_view(data)})
            self._known[key] = len(self._images) - 1
        return {"index": self._known[key]}
