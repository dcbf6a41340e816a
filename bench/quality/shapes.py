"""How good the expressions of photos' heads are: sheets to look at, and lengths beside those of people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from assets.levels import head_at_level
from bench.quality.length_references import REFERENCES, SOURCES
from bench.quality.shape_lengths import (
    LENGTHS,
    MovingFace,
    count_passing,
    face_of_head,
    face_of_units,
    find_empty_keys,
    measure_lengths,
)
from bench.quality.shape_sheets import COMBINATIONS, draw_shapes, list_sheets
from bench.report import describe_run, table
from face3d.head import ARKIT_NAMES, VISEME_NAMES, Head
from face3d.options import JobOptions
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.head.model.head_template import HeadData, load_head_data
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
    """Reconstruct the photos; write OUT/<photo's name>-<sheet>.png for each sheet, and print its lengths.

    A run of chosen keys prints no lengths.
    """
    sheets = list_sheets(run.weight, run.only, close=run.close)
    say(describe_run(n=len(photos), device=run.device))
    engine = AnnyEngine(run.model_dir, device=run.device)
    engine.warm_up()
    prepare_process(run.device)
    data = load_head_data(run.model_dir)
    units = measure_lengths(face_of_units(data))
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
        if not run.only:
            say(report_shapes(path.stem, geometry.head, data, units))
    if not run.only:
        say("\n".join(f"{name}: {source}." for name, source in SOURCES.items()))


def report_shapes(name: str, head: Head, data: HeadData, units: Mapping[str, float]) -> str:
    """Return a table of a head's lengths, and lines on keys that are empty or push skin through skin.

    Args:
        head: at level of detail 1.
        units: lengths of the face units that the shapes were made from.
    """
    face = face_of_head(head, data)
    lines = []
    for length, value in zip(LENGTHS, measure_lengths(face).values(), strict=True):
        reference = REFERENCES.get(length.name)
        known = (
            ["", "", ""]
            if reference is None
            else [str(reference), reference.judge(value), ", ".join(reference.sources)]
        )
        measured = [f"{number:.1f}" for number in (value, units[length.name])]
        lines.append([length.name, length.keys, length.unit, *measured, *known])
    columns = ["length", "keys at 1.0", "unit", name, "face units", "people", "within", "source"]
    empty = find_empty_keys(face)
    return "\n".join(
        [table(columns, lines), "", f"empty keys: {', '.join(empty) or 'none'}", _name_passing(face, head)]
    )


def _name_passing(face: MovingFace, head: Head) -> str:
    """Return a line on the skin's triangles that pass through skin, at neutral and at each key."""
    found = count_passing(face, head.part("skin").quads, ["", *ARKIT_NAMES, *VISEME_NAMES, *COMBINATIONS])
    neutral = found.pop("")
    some = [f"{key} {count}" for key, count in found.items() if count]
    return f"skin triangles through skin: neutral {neutral}; {', '.join(some) or 'none at any key'}"
