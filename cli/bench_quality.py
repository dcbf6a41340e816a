"""`face3d bench heads, looks, shapes, quality`: how well heads and textures keep what photos show."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import output

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Options = Annotated[list[str] | None, typer.Option("--option", help="NAME=VALUE, several times.")]
Portraits = Annotated[
    list[Path] | None, typer.Argument(help="Photos; the astronaut by default.", exists=True)
]


def register(group: typer.Typer) -> None:
    """Add the commands to the group."""
    group.command(epilog="Example:  face3d bench heads --photos DIR --out OUT --option expression=photo")(
        heads
    )
    group.command(epilog="Example:  face3d bench looks photos/*.jpg --out looks")(looks)
    group.command(epilog="Example:  face3d bench shapes --only jawOpen+mouthSmile,cheekPuff")(shapes)
    group.command(epilog="Example:  face3d bench quality --photos DIR --option texture-size=2048")(quality)


def say(line: str) -> None:
    """Print a line and an empty one, as they are."""
    output.print(line + "\n", markup=False, soft_wrap=True)


def heads(
    photos: Annotated[Path, typer.Option(help="A folder of photos, or of folders with NAME.", exists=True)],
    device: Device = "cpu",
    name: Annotated[str | None, typer.Option(help="File of each folder, like photo.jpg.")] = None,
    view: Annotated[str | None, typer.Option(help="A second, turned photo in each folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write OUT/<name>/head.obj.")] = None,
    redetect: Annotated[bool, typer.Option(help="Find the landmarks again on the rendered head.")] = False,
    option: Options = None,
) -> None:
    """Heads of many photos for a scoring script, and how well each meets its photo."""
    from bench.quality.heads import bench_heads, find_photos
    from cli.submit import read_options
    from face3d.options import parse_options
    from face3d.settings import get_settings

    bench_heads(
        model_dir=get_settings().model_dir,
        device=device,
        photos=find_photos(photos, name, view),
        options=parse_options(read_options(option or [])),
        out=out,
        redetect=redetect,
        say=say,
    )


def looks(
    photos: Portraits = None,
    out: Annotated[Path, typer.Option(help="The sheets go to OUT/<photo's name>.png.")] = Path("looks"),
    view: Annotated[
        Path | None, typer.Option(help="A second, turned photo of the person in the photos.", exists=True)
    ] = None,
    device: Device = "cpu",
    option: Options = None,
) -> None:
    """Contact sheets: photo, front, 45 degrees, profile, back, shape, mouth open, eyes shut, albedo."""
    from bench.quality.contact_sheet import bench_looks
    from cli.demo import astronaut
    from cli.submit import read_options
    from face3d.options import parse_options
    from face3d.settings import get_settings

    bench_looks(
        model_dir=get_settings().model_dir,
        device=device,
        photos=photos or [astronaut()],
        view=view,
        options=parse_options(read_options(option or [])),
        out=out,
        say=say,
    )


def shapes(
    photos: Portraits = None,
    out: Annotated[Path, typer.Option(help="Sheets go to OUT/<photo's name>-<sheet>.png.")] = Path("shapes"),
    only: Annotated[
        str | None,
        typer.Option(help="Keys and combinations, like cheekPuff,mouthSmile,jawOpen+mouthSmile."),
    ] = None,
    weight: Annotated[float, typer.Option(help="Of each key.", min=0, max=1)] = 1.0,
    view: Annotated[str, typer.Option(help="face or close-ups.")] = "face",
    device: Device = "cpu",
    option: Options = None,
) -> None:
    """Every key at 1.0 and eight combinations, from the front and from 45 degrees."""
    from bench.quality.shapes import ShapeRun, bench_shapes
    from cli.demo import astronaut
    from cli.submit import read_options
    from face3d.options import parse_options
    from face3d.settings import get_settings

    if view not in ("face", "close-ups"):
        raise typer.BadParameter("--view is face or close-ups")
    run = ShapeRun(
        model_dir=get_settings().model_dir,
        device=device,
        out=out,
        options=parse_options(read_options(option or [])),
        weight=weight,
        only=tuple(only.split(",")) if only else (),
        close=view == "close-ups",
    )
    bench_shapes(run, photos or [astronaut()], say)


def quality(
    photos: Annotated[Path, typer.Option(help="A folder of photos.", exists=True)],
    device: Device = "cpu",
    option: Options = None,
) -> None:
    """How well textures keep what photos show, and hide where it ends."""
    from bench.quality.heads import find_photos
    from bench.quality.textures import bench_quality
    from cli.submit import read_options
    from face3d.options import parse_options
    from face3d.settings import get_settings

    bench_quality(
        model_dir=get_settings().model_dir,
        device=device,
        photos=[entry.path for entry in find_photos(photos, None)],
        options=parse_options(read_options(option or [])),
        say=say,
    )
