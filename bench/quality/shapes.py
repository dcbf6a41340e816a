"""How good the expressions of photos' heads are: sheets to look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.levels import head_at_level
from bench.quality.shape_sheets import draw_shapes, list_sheets
from bench.report import describe_run
from face3d.options import JobOptions
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.process_settings import prepare_process


@dataclass(frozen=True, kw_only=True)
class ShapeRun:
    """What `bench_shapes` draws, and where."""

    model_dir: Path
    device: str
    out: Path
    options: JobOptions
    #: Of each key.
    weight: float = 1.0
    #: Keys and combinations like `jawOpen+mouthSmile`; all when empty.
    only: tuple[str, ...] = ()
    #: Eyes and mouth fill the pictures.
    close: bool = False


def bench_shapes(run: ShapeRun, photos: Sequence[Path], say: Callable[[str], None]) -> None:
    """Reconstruct the photos; write OUT/<photo's name>-<sheet>.png for each sheet."""
    sheets = list_sheets(run.weight, run.only, close=run.close)
    say(describe_run(n=len(photos), device=run.device))
    engine = AnnyEngine(run.model_dir, device=run.device)
    engine.warm_up()
    prepare_process(run.device)
    run.out.mkdir(parents=True, exist_ok=True)
    for path in photos:
        prepared = engine.preprocess(path.read_bytes(), run.options, PhotoLimits())
        geometry = engine.geometry(prepared, run.options)
        texture = engine.texture(prepared, geometry, run.options)
        head = head_at_level(geometry.head, run.options.lod)
        for sheet in sheets:
            target = run.out / f"{path.stem}-{sheet.name}.png"
            draw_shapes(head, texture, sheet).save(target)
            say(str(target))
