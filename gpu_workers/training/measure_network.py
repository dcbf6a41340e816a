"""Measures the trained face network on renders that it has not seen, by how the heads look: the model card.

python -m gpu_workers.training.measure_network --model-dir DIR --textures FILE --heads 384
"""

import argparse
import csv
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gpu_workers.head.landmarks.dense_network import FACE_NETWORK, FaceNetwork, load_face_network
from gpu_workers.head.model.dense_landmarks import choose_face_points
from gpu_workers.head.model.head_template import load_head_data
from gpu_workers.head.model.mediapipe_landmarks import SKIN_LANDMARKS
from gpu_workers.head.ops.image import LUMA
from gpu_workers.head.ops.rigid_transforms import head_angles
from gpu_workers.training.batches import Batch, BatchMaker
from gpu_workers.training.synthetic_photos.random_appearance import SkinLook
from gpu_workers.training.synthetic_photos.render import PictureMaker
from gpu_workers.training.synthetic_photos.textures import load_material
from gpu_workers.training.synthetic_photos.vertex_map import VertexMap
from gpu_workers.training.targets import TargetMaker

log = logging.getLogger(__name__)

#: Not the seed of any training.
_SEED = 90210
_BATCH = 8
#: Share of a texture about its middle that shows the cheeks and the nose.
_MIDDLE = slice(120, 200)
_TURNED = 12.0


def skin_brightness(skin: SkinLook, textures: Tensor) -> Tensor:
    """Return (B,) the linear luminance of each head's albedo at the face's middle.

    Args:
        textures: (T, S, S, 3) uint8 sRGB; T may be 0.
    """
    weights = torch.tensor(LUMA, device=skin.tone.device)
    painted = skin.tone @ weights
    if not len(textures):
        return painted
    middle = (textures[skin.textures][:, :, _MIDDLE, _MIDDLE].float() / 255) ** 2.2
    two = middle.mean((2, 3))
    mixed = two[:, 0] + (two[:, 1] - two[:, 0]) * skin.texture_mix[:, None]
    textured = (mixed * skin.gain) @ weights
    return textured + (painted - textured) * skin.procedural


def bands(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the groups of heads by name: which of N belong to each.

    Args:
        values: `brightness`, `yaw` (degrees), `glasses`, `beard`: (N,) each.
    """
    low, high = torch.quantile(values["brightness"], torch.tensor([1 / 3, 2 / 3]))
    yaw = values["yaw"].abs()
    return {
        "all": torch.ones_like(yaw, dtype=torch.bool),
        "darkest third of skins": values["brightness"] <= low,
        "middle third": (values["brightness"] > low) & (values["brightness"] < high),
        "lightest third": values["brightness"] >= high,
        f"yaw below {_TURNED:.0f} degrees": yaw < _TURNED,
        f"yaw from {_TURNED:.0f} degrees": yaw >= _TURNED,
        "glasses": values["glasses"] > 0.5,
        "beard": values["beard"] > 0.3,
    }


@torch.no_grad()
def measure_batch(network: FaceNetwork, batch: Batch, surface: VertexMap) -> dict[str, Tensor]:
    """Return each head's errors: `landmarks` and `depth` in %IOD, `surface` in mm; (B,) each."""
    estimate = network.predict(batch.crops)
    error = estimate.points - batch.targets.points
    share = 100 / batch.targets.eye_distance
    return {
        "landmarks": error[:, :SKIN_LANDMARKS, :2].norm(dim=-1).mean(1) * share,
        "depth": error[..., 2].abs().mean(1) * share,
        "surface": 1000 * surface.distances(batch.targets.in_metres(error)).mean(1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw heads, look at them, and print a row for each group."""
    parser = argparse.ArgumentParser(description="Measure the face network by how heads look.")
    parser.add_argument("--model-dir", type=Path, required=True, help="folder of the built head data")
    parser.add_argument("--textures", type=Path, help="face textures (.npz)")
    parser.add_argument("--network", type=Path, default=FACE_NETWORK)
    parser.add_argument("--heads", type=int, default=384)
    parser.add_argument("--map-heads", type=int, default=3072, help="heads that the surface map learns from")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = load_head_data(options.model_dir)
    network = load_face_network(options.network, device=device)
    maker = PictureMaker(data, load_material(options.textures, device), device)
    targets = TargetMaker(choose_face_points(data), device)
    surface = VertexMap(data, maker.heads, targets, options.map_heads)
    batches = BatchMaker(maker, targets, network.plan.input_size, _BATCH, 1.5)
    generator = torch.Generator(device).manual_seed(_SEED)
    rows: list[dict[str, Tensor]] = []
    for _ in range(-(-options.heads // _BATCH)):
        heads, looks = maker.sample(_BATCH, generator)
        batch = batches.draw_these(heads, looks, generator)
        rows.append(
            measure_batch(network, batch, surface)
            | {
                "brightness": skin_brightness(looks.skin, maker.material.textures),
                "yaw": head_angles(heads.rotation)[0],
                "glasses": looks.eyes.glasses,
                "beard": looks.skin.beard,
            }
        )
    found = {name: torch.cat([row[name] for row in rows]).cpu() for name in rows[0]}
    writer = csv.writer(sys.stdout)
    writer.writerow(["heads", "n", "landmarks_iod", "depth_iod", "surface_mm"])
    for name, members in bands(found).items():
        means = [found[kind][members].mean().item() for kind in ("landmarks", "depth", "surface")]
        writer.writerow([name, int(members.sum()), *(f"{mean:.2f}" for mean in means)])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
