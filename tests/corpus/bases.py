"""The photos that the others are made of: a real portrait, and renders of our own heads."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_workers.training.synthetic_photos.random_appearance import Looks
from gpu_workers.training.synthetic_photos.render import PictureMaker
from gpu_workers.training.synthetic_photos.textures import load_material
from tests.unit.head.head_support import astronaut, head_data, mediapipe_astronaut

#: Pixels a side of a render.
_SIZE = 432
_SEED = 3
#: Of the first heads of that seed: skin from light to dark, short hair, a fringe, a beard's shadow.
_HEADS = 12


@dataclass(frozen=True)
class Base:
    """A photo and where its face is."""

    #: (H, W, 3) uint8 sRGB.
    pixels: NDArray[np.uint8]
    #: (478, 2) pixels; the first pixel's centre is 0.5.
    points: NDArray[np.float64]

    @property
    def eyes(self) -> float:
        """Distance of the outer eye corners, pixels."""
        return float(np.linalg.norm(self.points[33] - self.points[263]))

    def to_photo(self, places: NDArray[np.floating] | list[tuple[float, float]]) -> NDArray[np.float64]:
        """Return pixels (N, 2) of places (N, 2) of the face.

        The middle between the outer eye corners is 0, 0; the unit is their distance; x runs to the right of
        the picture along the eyes, y down.
        """
        middle, across = self._frame()
        x, y = np.asarray(places, float).T[..., None]
        return middle + x * across + y * np.array([-across[1], across[0]])

    def to_face(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the places (N, 2) of the face of pixels (N, 2): the inverse of `to_photo`."""
        middle, across = self._frame()
        moved = np.asarray(pixels, float) - middle
        length = across @ across
        return np.stack([moved @ across, moved @ np.array([-across[1], across[0]])], -1) / length

    def _frame(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        right, left = self.points[33], self.points[263]
        return (right + left) / 2, left - right


@lru_cache(maxsize=1)
def real_face() -> Base:
    """Return NASA's astronaut: 512 pixels a side, 60 between the eyes."""
    return Base(astronaut(), np.array(mediapipe_astronaut()["points"])[:, :2])


@lru_cache(maxsize=1)
def made_faces() -> tuple[Base, ...]:
    """Return renders of our own random heads, frontal, without an expression, in plain light."""
    cpu = torch.device("cpu")
    maker = PictureMaker(head_data(), load_material(None, cpu), cpu)
    generator = torch.Generator().manual_seed(_SEED)
    heads, looks = maker.sample(
        _HEADS, generator, clean=True, margin=1.9, turned=0.0, strength=(0.7, 0.7, 0.0)
    )
    pictures = maker.render(heads, _plain(looks), _SIZE, generator)
    pairs = zip(pictures.pixels.numpy(), pictures.landmarks.double().numpy(), strict=True)
    return tuple(Base(pixels, points[:, :2]) for pixels, points in pairs)


def _plain(looks: Looks) -> Looks:
    """Return the looks without glasses, in even white light, with a camera that changes nothing."""
    light, camera, eyes = looks.light, looks.camera, looks.eyes
    white = torch.ones(3)
    power = torch.tensor([[0.55], [0.15]])
    light = replace(
        light,
        ambient=0.5 * white.expand_as(light.ambient),
        ambient_slope=torch.zeros_like(light.ambient_slope),
        colour=(power * white).expand_as(light.colour),
        wrap=torch.full_like(light.wrap, 0.3),
        shadow=torch.full_like(light.shadow, 0.3),
        exposure=torch.full_like(light.exposure, 1.35),
        background=light.background.mean(-1, keepdim=True).expand_as(light.background),
    )
    one = torch.ones_like(camera.gamma)
    camera = replace(
        camera,
        gamma=one,
        contrast=one,
        brightness=0 * one,
        saturation=one,
        balance=torch.ones_like(camera.balance),
    )
    return replace(looks, light=light, camera=camera, eyes=replace(eyes, glasses=0 * eyes.glasses))
