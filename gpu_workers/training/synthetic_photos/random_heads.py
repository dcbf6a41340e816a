"""Random heads in front of random cameras: shape, expression, pose and framing. How they look is another
module's matter (random_appearance.py).

A face's shape is a draw of the head data's own coefficients plus smooth free-form noise, so that the network
learns more shapes than the basis has axes for.
"""

import math
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import SKIN_LANDMARKS
from gpu_workers.head.ops.rigid_transforms import rotation_matrix
from gpu_workers.training.constants import constant
from gpu_workers.training.synthetic_photos.dice import Dice
from gpu_workers.training.synthetic_photos.expressions import sample_expressions
from gpu_workers.training.synthetic_photos.wave_noise import free_form_noise

#: Standard deviation of the identity components: each head has its own, in this range.
_IDENTITY_SD = (0.6, 1.5)
#: Local changes: probability that one is on, and its standard deviation; each head has its own.
_LOCAL_CHANCE = (0.1, 0.6)
_LOCAL_SD = (0.15, 0.6)
#: Shares of heads that are exactly symmetric, and of the other side in those that are not.
_SYMMETRIC = 0.6
_LIKE_LEFT = 0.85
#: Changes of the whole skull and neck are strong ones: names begin so, and the factor on them.
_STRONG = ("head-", "neck-", "measure")
_STRONG_SHARE = 0.5
#: Free-form noise: wavelength and amplitude, metres.
_NOISE = ((0.12, 0.0016), (0.06, 0.0009), (0.035, 0.00035))
_WAVES = 6
#: Distance from camera to eyes, metres.
_DISTANCE = (0.35, 1.70)
_YAW_LIMIT, _PITCH_LIMIT, _ROLL_SD = math.radians(35), math.radians(20), math.radians(5)
#: Framing: side of the picture in sizes of the landmarks' box, its jitter (log and shift in half sides).
CROP_MARGIN = 1.35
CROP_JITTER = 0.06


@dataclass(frozen=True, kw_only=True)
class RandomHeads:
    """B heads and their cameras. Camera frame: x right, y down, z forward (face3d/head.py)."""

    #: (B, N) identity, local changes, expression.
    coefficients: Tensor
    #: (B, V, 3) metres, head's frame: shape, expression and free-form noise.
    vertices: Tensor
    #: (B, 3, 3) and (B, 3) metres: from the head's frame to the camera's.
    rotation: Tensor
    translation: Tensor
    #: (B,) and (B, 2): focal length and principal point in sides of the (square) picture.
    focal: Tensor
    centre: Tensor

    def __len__(self) -> int:
        return len(self.vertices)

    @property
    def camera_vertices(self) -> Tensor:
        """(B, V, 3) metres, camera's frame."""
        return self.vertices @ self.rotation.mT + self.translation[:, None]

    def project(self, points: Tensor, size: int) -> Tensor:
        """Return (B, N, 3) pixel x, pixel y and depth (metres) of camera-frame points in a picture."""
        depth = points[..., 2:]
        plane = points[..., :2] / depth * self.focal[:, None, None] + self.centre[:, None]
        return torch.cat([plane * size, depth], -1)

    def rows(self, index: Tensor | slice) -> "RandomHeads":
        """Return some of the heads."""
        return replace(self, **{field.name: getattr(self, field.name)[index] for field in fields(self)})


class HeadSampler:
    """Draws heads of one basis on one device."""

    def __init__(self, data: HeadData, device: torch.device) -> None:
        self.device = device
        self.positions = torch.from_numpy(data.positions).to(device)
        columns = np.concatenate([data.identity, data.local_changes, data.actions])
        self.columns = torch.from_numpy(columns.reshape(len(columns), -1)).to(device)
        self.identity_count = len(data.identity)
        self.landmark_vertices = torch.from_numpy(data.landmark_vertices.astype(np.int64)).to(device)
        self.landmark_weights = torch.from_numpy(data.landmark_weights).to(device)
        self._two_sided(data)

    def _two_sided(self, data: HeadData) -> None:
        """Find for each change, without its sign, the rows of both signs and the partner on the right."""
        bases = sorted({name[:-1] for name in data.local_change_names})
        signs = torch.zeros(len(bases), len(data.local_change_names))
        strength = torch.ones(len(bases))
        for row, name in enumerate(data.local_change_names):
            signs[bases.index(name[:-1]), row] = 1.0 if name.endswith("+") else -1.0
        pairs = []
        for number, base in enumerate(bases):
            if base.startswith(_STRONG):
                strength[number] = _STRONG_SHARE
            if base.startswith("l-") and f"r-{base[2:]}" in bases:
                pairs.append((number, bases.index(f"r-{base[2:]}")))
        self._signs = signs.to(self.device)
        self._strength = strength.to(self.device)
        self._left, self._right = torch.tensor(pairs, device=self.device).T

    def sample(
        self,
        batch: int,
        generator: torch.Generator,
        *,
        margin: float = CROP_MARGIN,
        jitter: float = CROP_JITTER,
        turned: float = 1.0,
        strength: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> RandomHeads:
        """Return random heads.

        Args:
            batch: B.
            generator: on this sampler's device; decides everything.
            margin: side of the picture in sizes of the box of the skin's landmarks.
            jitter: standard deviation of the picture's size (log) and place (in half sides).
            turned: factor on yaw and pitch.
            strength: factors on identity, local changes and expression.
        """
        dice = Dice(generator, batch)
        parts = [self._sample_identity(dice), self._sample_local(dice), sample_expressions(dice)]
        coefficients = torch.cat([part * by for part, by in zip(parts, strength, strict=True)], 1)
        shape = (coefficients @ self.columns).view(batch, -1, 3)
        vertices = self.positions + shape + self._sample_noise(dice)
        rotation, translation = _sample_pose(dice, turned)
        placed = vertices @ rotation.mT + translation[:, None]
        focal, centre = _frame(self.landmarks(placed), dice, margin, jitter)
        return RandomHeads(
            coefficients=coefficients,
            vertices=vertices,
            rotation=rotation,
            translation=translation,
            focal=focal,
            centre=centre,
        )

    def landmarks(self, vertices: Tensor) -> Tensor:
        """Return (B, 478, 3): the landmarks' places on vertices (B, V, 3)."""
        corners = vertices[:, self.landmark_vertices]
        places: Tensor = (corners * self.landmark_weights[..., None]).sum(2)
        return places

    def _sample_identity(self, dice: Dice) -> Tensor:
        spread = dice.uniform(*_IDENTITY_SD, 1)
        return dice.normal(1.0, self.identity_count).clamp(-3, 3) * spread

    def _sample_local(self, dice: Dice) -> Tensor:
        count = len(self._strength)
        change = (dice.uniform(0, 1, count) < dice.uniform(*_LOCAL_CHANCE, 1)).float()
        change = change * dice.normal(1.0, count) * dice.uniform(*_LOCAL_SD, 1) * self._strength
        left, right = change[:, self._left], change[:, self._right]
        symmetric = dice.chance(_SYMMETRIC, 1)
        mixed = _LIKE_LEFT * left + math.sqrt(1 - _LIKE_LEFT**2) * right
        change = change.index_copy(1, self._right, symmetric * left + (1 - symmetric) * mixed)
        signed = change.clamp(-1, 1)
        return (signed.clamp(min=0) @ self._signs.clamp(min=0)) + (
            (-signed).clamp(min=0) @ (-self._signs).clamp(min=0)
        )

    def _sample_noise(self, dice: Dice) -> Tensor:
        """Return (B, V, 3) metres: sums of plane waves, mostly symmetric."""
        total = torch.zeros(dice.batch, len(self.positions), 3, device=self.device)
        mirrored = 0.5 * dice.chance(0.7) * dice.uniform(0.6, 1)
        for wavelength, amplitude in _NOISE:
            wave = dice.normal(2 * math.pi / wavelength / math.sqrt(3), 3, _WAVES)
            phase = dice.uniform(0, 2 * math.pi, _WAVES)
            push = dice.normal(amplitude, _WAVES, 3) * dice.uniform(0, 1.3, 1, 1)
            total += free_form_noise(self.positions, wave, phase, push, mirrored)
        return total


def _sample_pose(dice: Dice, turned: float) -> tuple[Tensor, Tensor]:
    """Return rotation (B, 3, 3) and translation (B, 3); half of the heads look nearly into the camera."""
    frontal = dice.chance(0.5)
    yaw = frontal * dice.normal(0.12) + (1 - frontal) * dice.uniform(-_YAW_LIMIT, _YAW_LIMIT)
    frontal = dice.chance(0.6)
    pitch = frontal * dice.normal(0.09) + (1 - frontal) * dice.uniform(-_PITCH_LIMIT, _PITCH_LIMIT)
    yaw = yaw.clamp(-_YAW_LIMIT, _YAW_LIMIT) * turned
    pitch = pitch.clamp(-_PITCH_LIMIT, _PITCH_LIMIT) * turned
    roll = dice.normal(_ROLL_SD).clamp(-4 * _ROLL_SD, 4 * _ROLL_SD)
    zero = torch.zeros_like(yaw)
    # Turns about the camera's axes; the first puts the head upright, its face towards the camera.
    upright = torch.diag(constant((1.0, -1.0, -1.0), dice.device))
    turns = (
        rotation_matrix(torch.stack([zero, zero, roll], 1))
        @ rotation_matrix(torch.stack([pitch, zero, zero], 1))
        @ rotation_matrix(torch.stack([zero, -yaw, zero], 1))
    )
    distance = dice.log_uniform(*_DISTANCE)
    aside = dice.normal(0.05, 2) * distance[:, None]
    return turns @ upright, torch.cat([aside, distance[:, None]], 1)


def _frame(landmarks: Tensor, dice: Dice, margin: float, jitter: float) -> tuple[Tensor, Tensor]:
    """Return the focal length (B,) and principal point (B, 2) that show the landmarks' box in the picture."""
    plane = landmarks[:, :SKIN_LANDMARKS, :2] / landmarks[:, :SKIN_LANDMARKS, 2:]
    low, high = plane.amin(1), plane.amax(1)
    side = (high - low).amax(1) * margin * dice.factor(jitter)
    middle = (low + high) / 2 + dice.normal(jitter, 2) * side[:, None] / 2
    return 1 / side, 0.5 - middle / side[:, None]
