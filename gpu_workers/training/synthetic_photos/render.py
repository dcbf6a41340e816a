"""Pictures of random heads, and the truth about them: one batch on one device, no loop over heads.

Order of a picture: background and long hair; the mesh (skin, eyes, teeth, tongue, cloth), lit with shadows;
the shell of hair; glasses; then the camera's and the file's faults.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.rasterization import (
    Raster,
    count_tests,
    interpolate,
    interpolate_corners,
    rasterise,
)
from gpu_workers.training.constants import constant
from gpu_workers.training.synthetic_photos.atlas_maps import make_atlas_maps
from gpu_workers.training.synthetic_photos.camera_effects import Grain, apply_camera, draw_grain
from gpu_workers.training.synthetic_photos.random_appearance import Looks, sample_looks
from gpu_workers.training.synthetic_photos.random_heads import CROP_MARGIN, HeadSampler, RandomHeads
from gpu_workers.training.synthetic_photos.scene import Surface, make_scene, solid_triangles, vertex_normals
from gpu_workers.training.synthetic_photos.shading import (
    SHADOW_PIXELS,
    Shadows,
    cast_shadows,
    lit_share,
    planes,
    shade,
    shadow_view,
    unit,
)
from gpu_workers.training.synthetic_photos.skin_paint import mix, paint_skin, soft_step
from gpu_workers.training.synthetic_photos.surfaces import (
    PlaneMap,
    add_glasses,
    eye_colour,
    facing,
    hair_depth,
    hair_strands,
    paint_background,
    paint_long_hair,
    teeth_colour,
)
from gpu_workers.training.synthetic_photos.textures import Material

#: Texels a side of the painted skin: that of the textures.
ATLAS_SIZE = 320
#: Landmarks: corners of the right and the left eye, and where the ears begin.
_EYE_CORNERS = ((33, 133), (263, 362))
_EARS = (127, 356)
#: Plain numbers, which compiled functions understand.
_EYE, _TEETH, _TONGUE, _CLOTH = (
    int(one) for one in (Surface.EYE, Surface.TEETH, Surface.TONGUE, Surface.CLOTH)
)
#: Middle of the skull, head's frame, metres.
_SKULL = (0.0, 0.03, -0.08)
_TONGUE_RED = (1.6, 1.3, 1.3)


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """B pictures of one head each; camera frame: x right, y down, z forward."""

    #: (B, S, S, 3) uint8 sRGB.
    pixels: Tensor
    #: (B, V, 3) metres, camera's frame.
    vertices: Tensor
    #: (B, 478, 3): pixel x, pixel y (the centre of the top-left pixel is (0.5, 0.5)), depth in metres.
    landmarks: Tensor
    #: (B,) and (B, 2): focal length and principal point, pixels.
    focal: Tensor
    centre: Tensor
    #: () pixel tests that did not fit into the rasteriser's capacity: anything but 0 means missing surfaces.
    dropped: Tensor


@dataclass(frozen=True)
class Capacity:
    """Sizes of the rasteriser's lists for a whole batch: head, hair, shadows (head/ops/rasterization)."""

    head: int | None = None
    hair: int | None = None
    shadows: int | None = None


class PictureMaker:
    """Draws random heads of one basis with one material, on one device.

    Example:
        maker = PictureMaker(load_head_data(folder), load_material(path, device), device)
        heads, looks = maker.sample(8, generator)
        pictures = maker.render(heads, looks, 512, generator)
    """

    def __init__(
        self, data: HeadData, material: Material, device: torch.device, atlas_size: int = ATLAS_SIZE
    ) -> None:
        self.device = device
        self.material = material
        self.heads = HeadSampler(data, device)
        self._scene = make_scene(data, device)
        self._maps = make_atlas_maps(data, atlas_size, device)
        self._iris_radius = data.iris_radius / data.eyeball_radius
        self._compiled: Callable[..., Pictures] | None = None
        self._shadow_triangles = torch.from_numpy(solid_triangles(data)).to(device)

    def sample(
        self,
        batch: int,
        generator: torch.Generator,
        *,
        clean: bool = False,
        margin: float = CROP_MARGIN,
        turned: float = 1.0,
        strength: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> tuple[RandomHeads, Looks]:
        """Return random heads with looks; arguments as in random_heads.py and random_appearance.py."""
        heads = self.heads.sample(batch, generator, turned=turned, margin=margin, strength=strength)
        looks = sample_looks(
            batch,
            generator,
            textures=len(self.material.textures),
            backgrounds=len(self.material.backgrounds),
            clean=clean,
        )
        return heads, looks

    @torch.no_grad()
    def render(
        self,
        heads: RandomHeads,
        looks: Looks,
        size: int,
        generator: torch.Generator,
        *,
        supersample: float = 1,
        shadows: bool = True,
        capacity: Capacity | None = None,
    ) -> Pictures:
        """Draw the heads.

        Args:
            heads: B heads.
            looks: of the same B.
            size: S, pixels a side; a multiple of 8.
            generator: draws the noise of camera and file.
            supersample: draw so many times larger and average.
            shadows: cast the key light's shadows.
            capacity: never wait for the device; without, three times a call.
        """
        grain = draw_grain(len(heads), size, generator)
        draw = self._compiled if self._compiled and capacity else self._draw
        return draw(heads, looks, grain, supersample, shadows, capacity or Capacity())

    def compile(self, *, on: bool = True, backend: str = "inductor") -> None:
        """Let render() with a capacity run as fused kernels; the first call of each size then takes long."""
        self._compiled = (
            torch.compile(self._draw, fullgraph=True, dynamic=False, backend=backend) if on else None
        )

    def _draw(
        self,
        heads: RandomHeads,
        looks: Looks,
        grain: Grain,
        supersample: float,
        shadows: bool,
        capacity: Capacity,
    ) -> Pictures:
        """Draw; a plain function of its arguments, without a word to the device's host."""
        size = grain.fine.shape[-1]
        drawn = round(size * supersample)
        placed = heads.camera_vertices
        turn, shift = heads.rotation.mT, heads.translation[:, None]
        extended = self._scene.extend(heads.vertices) @ turn + shift
        cast = None
        if shadows:
            cast = cast_shadows(placed, self._shadow_triangles, looks.light, capacity.shadows)
        layer = _Layer(heads, drawn)
        picture = self._paint_behind(heads, looks, layer)
        raster = rasterise(
            layer.project(extended),
            self._scene.triangles,
            drawn,
            drawn,
            cull_back=True,
            capacity=capacity.head,
        )
        normals = vertex_normals(extended, self._scene.triangles)
        light = self._light_head(looks, layer, raster, normals, cast)
        picture = torch.where(raster.covered, light, picture)
        picture, hair_dropped = self._add_hair(
            looks, layer, extended, normals, raster, picture, capacity.hair
        )
        picture = add_glasses(picture, looks.eyes, *self._place_glasses(heads, looks, layer))
        picture = (picture * planes(looks.light.exposure)).clamp(0, 1).movedim(0, 1)
        if drawn > size:
            picture = _shrink(picture, size)
        picture = apply_camera(picture.clamp(min=1e-6) ** (1 / 2.2), looks.camera, grain)
        pixels = (picture * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        dropped = raster.dropped + hair_dropped + (cast.dropped if cast else 0)
        return Pictures(
            pixels=pixels,
            vertices=placed,
            landmarks=heads.project(self.heads.landmarks(placed), size),
            focal=heads.focal * size,
            centre=heads.centre * size,
            dropped=dropped,
        )

    @torch.no_grad()
    def count_tests(self, heads: RandomHeads, looks: Looks, size: int) -> Tensor:
        """Return (3,) the pixel tests of head, hair and shadows of the batch, drawn `size` pixels a side."""
        layer, scene = _Layer(heads, size), self._scene
        extended = scene.extend(heads.vertices) @ heads.rotation.mT + heads.translation[:, None]
        shell = self._hair_shell(looks, extended, vertex_normals(extended, scene.triangles))
        view = shadow_view(heads.camera_vertices, looks.light)[0]
        sides = ((extended, scene.triangles), (shell, scene.hair_triangles))
        counts = [
            count_tests(layer.project(points), triangles, size, size, cull_back=True).sum()
            for points, triangles in sides
        ]
        shadows = count_tests(
            view, self._shadow_triangles, SHADOW_PIXELS, SHADOW_PIXELS, perspective=False, cull_back=True
        )
        return torch.stack([*counts, shadows.sum()])

    def _paint_behind(self, heads: RandomHeads, looks: Looks, layer: "_Layer") -> Tensor:
        behind = paint_background(looks.light, self.material, layer.size)
        skull = layer.plane(heads, constant(_SKULL, self.device).expand(len(heads), 3))
        return paint_long_hair(behind, looks.hair, looks.light, skull, looks.skin.seed, self.material)

    def _light_head(
        self, looks: Looks, layer: "_Layer", raster: Raster, normals: Tensor, cast: Shadows | None
    ) -> Tensor:
        """Return the mesh's light (3, B, S, S)."""
        scene, eyes, skin = self._scene, looks.eyes, looks.skin
        values = interpolate_corners(scene.values, raster).movedim(-1, 0)
        kind = scene.surfaces[raster.triangle.clamp(min=0)]
        normal = unit(interpolate(normals, scene.triangles, raster).movedim(-1, 0))
        place = layer.places(raster.depth)
        view = -unit(place)
        normal = facing(normal, view)
        openness = values[5].clamp(0.02, 1)
        painted = paint_skin(skin, looks.hair, eyes.mouth, self._maps, self.material)
        grid = torch.stack([values[0], 1 - values[1]], -1) * 2 - 1
        sampled = functional.grid_sample(painted, grid, padding_mode="border", align_corners=False)
        colour, gloss = sampled[:, :3].movedim(1, 0), sampled[:, 3] * skin.gloss[:, None, None]
        power = skin.gloss_power[:, None, None].expand_as(gloss)

        is_eye, is_teeth = kind == _EYE, kind == _TEETH
        colour = torch.where(is_eye, eye_colour(eyes, values[2:5], self._iris_radius), colour)
        colour = torch.where(is_teeth, teeth_colour(eyes, values[2:5], openness), colour)
        red = planes(constant((_TONGUE_RED,), self.device))
        colour = torch.where(kind == _TONGUE, planes(eyes.mouth) * red, colour)
        colour = torch.where(kind == _CLOTH, planes(eyes.cloth), colour)
        gloss = torch.where(is_eye, 1.3, torch.where(kind >= _TEETH, 0.04, gloss))
        power = torch.where(is_eye, 180.0, power)
        openness = torch.where(is_eye, openness.clamp(min=0.55), openness)
        lit = torch.ones_like(openness)
        if cast is not None:
            share = lit_share(cast, place, normal)
            lit = 1 - looks.light.shadow[:, None, None] * (1 - share)
        # What lies deep gets no direct light either, shadow map or not.
        lit = lit * soft_step(openness / 0.35)
        return shade(looks.light, colour, normal, view, openness, lit, gloss, power)

    def _add_hair(
        self,
        looks: Looks,
        layer: "_Layer",
        extended: Tensor,
        normals: Tensor,
        raster: Raster,
        picture: Tensor,
        capacity: int | None,
    ) -> tuple[Tensor, Tensor]:
        scene, hair, seed = self._scene, looks.hair, looks.skin.seed
        shell = self._hair_shell(looks, extended, normals)
        seen = rasterise(
            layer.project(shell),
            scene.hair_triangles,
            layer.size,
            layer.size,
            cull_back=True,
            capacity=capacity,
        )
        own = vertex_normals(shell, scene.hair_triangles)
        normal = unit(interpolate(own, scene.hair_triangles, seen).movedim(-1, 0))
        values = interpolate_corners(scene.hair_corners, seen).movedim(-1, 0)
        strands = hair_strands(hair, values, seed, self.material)
        view = -unit(layer.places(seen.depth))
        normal = facing(normal, view)
        ones = torch.ones_like(strands.cover)
        light = shade(looks.light, strands.colour, normal, view, 0.9 * ones, ones, 0.02 * ones, 12 * ones)
        before = seen.covered & (seen.depth < raster.depth + 0.002)
        return mix(picture, light, strands.cover * before), seen.dropped

    def _hair_shell(self, looks: Looks, extended: Tensor, normals: Tensor) -> Tensor:
        """Return the shell's vertices (B, H, 3), camera's frame, metres."""
        scene, hair, seed = self._scene, looks.hair, looks.skin.seed
        depth = hair_depth(hair, scene.hair_values.T[:, None].expand(-1, len(seed), -1))
        bulge = 1 + 0.25 * torch.sin(scene.hair_values[:, 3] * 5 + seed[:, :1] * 6.28)
        lift = hair.thickness[:, None] * soft_step((depth + 0.004) / 0.05) * bulge + 0.0012
        under = scene.hair_vertices
        shell: Tensor = extended[:, under] + normals[:, under] * lift[..., None]
        return shell

    def _place_glasses(
        self, heads: RandomHeads, looks: Looks, layer: "_Layer"
    ) -> tuple[PlaneMap, Tensor, Tensor]:
        """Return the plane of the glasses, half the distance of the lenses, and the ears on that plane."""
        marks = self.heads.landmarks(heads.vertices)
        right, left = (0.5 * (marks[:, a] + marks[:, b]) for a, b in _EYE_CORNERS)
        ahead, down = looks.eyes.glasses_offset.unbind(1)
        zero = torch.zeros_like(ahead)
        middle = (left + right) / 2 + torch.stack([zero, -down, ahead], 1)
        plane = layer.plane(heads, middle)
        ears = layer.project(
            marks[:, constant(_EARS, self.device)] @ heads.rotation.mT + heads.translation[:, None]
        )
        x, y = plane.metres(ears[:, None, :, 0], ears[:, None, :, 1])
        return plane, (left - right).norm(dim=1) / 2, torch.stack([x[:, 0], y[:, 0]], -1)


def _shrink(picture: Tensor, size: int) -> Tensor:
    """Return (B, 3, size, size): means over what each pixel covers."""
    factor, rest = divmod(picture.shape[-1], size)
    if rest == 0:
        return functional.avg_pool2d(picture, factor)
    return functional.interpolate(
        picture, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )


class _Layer:
    """The camera of a batch at the size that is drawn."""

    def __init__(self, heads: RandomHeads, size: int) -> None:
        self.size = size
        self._heads = heads
        steps = (torch.arange(size, device=heads.focal.device) + 0.5) / size
        x = (steps[None, None, :] - heads.centre[:, 0, None, None]) / heads.focal[:, None, None]
        y = (steps[None, :, None] - heads.centre[:, 1, None, None]) / heads.focal[:, None, None]
        flat = torch.zeros_like(x + y)
        self._rays = torch.stack([flat + x, flat + y, flat + 1])

    def project(self, points: Tensor) -> Tensor:
        """Return (B, N, 3) pixel x, pixel y, depth of points of the camera's frame."""
        return self._heads.project(points, self.size)

    def places(self, depth: Tensor) -> Tensor:
        """Return (3, B, S, S) metres, camera's frame: what lies at a depth; finite everywhere."""
        return self._rays * torch.where(depth.isfinite(), depth, torch.ones_like(depth))

    def plane(self, heads: RandomHeads, middle: Tensor) -> PlaneMap:
        """Return how the picture sees the plane parallel to the face through a point (B, 3) of the head."""
        step = 0.02
        moves = constant(((0.0, 0.0, 0.0), (step, 0.0, 0.0), (0.0, -step, 0.0)), middle.device)
        points = (middle[:, None] + moves) @ heads.rotation.mT + heads.translation[:, None]
        pixels = self.project(points)[..., :2]
        base = pixels[:, 0]
        return PlaneMap(base, (pixels[:, 1] - base) / step, (pixels[:, 2] - base) / step)
