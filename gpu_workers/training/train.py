"""Train the face network on rendered heads. See docs/how-to/training.md.

    python -m gpu_workers.training.train --textures FILE --model-dir DIR --out DIR \\
        --minutes 8 --resume

Several GPUs: the same after `python -m torch.distributed.run --nproc-per-node N -m` (team.py).
`--minutes` counts from the start of the process, preparations included. What is written to --out:
checkpoint.safetensors (everything, for --resume), face_network_v1.safetensors (the averaged network in half
precision, for use), log.csv, validation.csv, examples.png.
"""

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from gpu_workers.head.landmarks.dense_network import (
    FACE_NETWORK_FILE,
    FaceNetwork,
    NetworkPlan,
    load_face_network,
    save_face_network,
)
from gpu_workers.head.model.dense_landmarks import choose_face_points
from gpu_workers.head.model.head_template import load_head_data
from gpu_workers.training.batches import Batch, BatchMaker
from gpu_workers.training.schedule import Budget
from gpu_workers.training.synthetic_photos.render import PictureMaker
from gpu_workers.training.synthetic_photos.textures import load_material
from gpu_workers.training.synthetic_photos.vertex_map import VertexMap
from gpu_workers.training.targets import TargetMaker
from gpu_workers.training.team import Team, join_team
from gpu_workers.training.trainer import Trainer, TrainerOptions

log = logging.getLogger(__name__)

_VALIDATION_SEED = 12345
#: Seconds kept for the last validation, checkpoint and export.
_CLOSING = 15.0
_EXAMPLES = 64


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description="Train the face network on rendered heads.")
    parser.add_argument("--textures", type=Path, help="face textures (.npz); without, skin is only painted")
    parser.add_argument("--model-dir", type=Path, required=True, help="folder of the built head data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of this run, preparations included")
    parser.add_argument(
        "--total-minutes", type=float, help="of all runs together; default: to this one's end"
    )
    parser.add_argument("--steps", type=int, help="stop at this step; the clock then decides nothing")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out, if any")
    parser.add_argument("--start-from", type=Path, help="begin with an exported network's weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--supersample", type=float, default=1.5)
    parser.add_argument("--rate", type=float, default=1.2e-3, help="peak learning rate")
    parser.add_argument("--compile", action="store_true", help="draw with fused kernels (CUDA)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation-heads", type=int, default=768)
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--validate-every", type=int, default=2000)
    parser.add_argument("--map-heads", type=int, default=3072, help="heads that the surface map learns from")
    parser.add_argument("--size", type=int, default=192, help="pixels a side of a crop")
    parser.add_argument("--widths", type=int, nargs=4, default=NetworkPlan().widths)
    parser.add_argument("--depths", type=int, nargs=4, default=NetworkPlan().depths)
    parser.add_argument("--hidden", type=int, default=NetworkPlan().hidden)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stretch of training."""
    began = time.monotonic()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse_arguments(arguments)
    team, device = join_team(options.device)
    if not team.leads:
        logging.getLogger().setLevel(logging.WARNING)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    trainer = prepare(options, device, team)
    spent = 0.0
    if options.resume and trainer.checkpoint_path.is_file():
        spent = trainer.resume()
        log.info("resumed at step %d after %.0f s", trainer.step, spent)
    seconds = options.minutes * 60 - _CLOSING
    total = options.total_minutes * 60 if options.total_minutes else spent + seconds
    budget = Budget(seconds, total, spent, options.steps, began=began)
    log.info("prepared in %.1f s", budget.elapsed)
    errors = trainer.run(budget)
    team.close()
    if errors is None:
        return 0
    facts = {"images": trainer.images, "steps": trainer.step, "validation": errors.row()}
    digest = save_face_network(trainer.average, options.out / FACE_NETWORK_FILE, facts)
    log.info("%s: SHA-256 %s", FACE_NETWORK_FILE, digest)
    return 0


def prepare(options: argparse.Namespace, device: torch.device, team: Team) -> Trainer:
    """Return a trainer with everything that it needs on the device."""
    data = load_head_data(options.model_dir)
    points = choose_face_points(data)
    maker = PictureMaker(data, load_material(options.textures, device), device)
    targets = TargetMaker(points, device)
    batches = BatchMaker(
        maker, targets, options.size, options.batch, options.supersample, fused=options.compile
    )
    surface = VertexMap(data, maker.heads, targets, options.map_heads)
    known = draw_known(batches, options.validation_heads)
    if team.leads:
        save_examples(known, options.out / "examples.png")
    torch.manual_seed(options.seed)
    plan = NetworkPlan(
        input_size=options.size,
        widths=tuple(options.widths),
        depths=tuple(options.depths),
        hidden=options.hidden,
        points=len(points),
    )
    start = options.start_from
    network = FaceNetwork(plan) if start is None else load_face_network(start, trainable=True)
    generator = torch.Generator(device).manual_seed(team.seed(options.seed + 1))
    trainer = Trainer(
        network.to(device),
        batches,
        generator,
        surface,
        known,
        TrainerOptions(
            out=options.out,
            peak_rate=options.rate,
            log_every=options.log_every,
            validate_every=options.validate_every,
        ),
        team,
    )
    if start is None:
        trainer.start_from_mean()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    log.info("%.2f M parameters, %d textures", parameters / 1e6, len(maker.material.textures))
    return trainer


def draw_known(batches: BatchMaker, heads: int) -> list[Batch]:
    """Return at least so many heads for validation, the same in every run on one kind of device."""
    generator = torch.Generator(batches.maker.device).manual_seed(_VALIDATION_SEED)
    return [batches.draw(generator) for _ in range(max(1, -(-heads // batches.batch)))]


def save_examples(known: list[Batch], path: Path) -> None:
    """Write a sheet of crops, so that a person can look at what is learnt from."""
    crops = known[0].crops[:_EXAMPLES].cpu()
    across = min(8, len(crops))
    crops = crops[: len(crops) // across * across]
    size = crops.shape[1]
    sheet = crops.view(-1, across, size, size, 3).transpose(1, 2).reshape(-1, across * size, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet.numpy()).save(path)


if __name__ == "__main__":
    raise SystemExit(main())
