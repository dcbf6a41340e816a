"""`face3d bench`: measure, and print tables that say how."""

from pathlib import Path
from typing import Annotated

import typer

from face3d.cli.console import output


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(help="Measure, and print tables that say how.", no_args_is_help=True)
    group.command(epilog="Example:  face3d bench pipeline --engine null --load 400")(pipeline)
    group.callback()(_group)
    app.add_typer(group, name="bench")


def _group() -> None:
    """Measure, and print tables that say how."""


def pipeline(
    engine: Annotated[str, typer.Option(help="anny or null.")] = "anny",
    sequential: Annotated[int, typer.Option("-n", help="Photos sent one after another.", min=1)] = 20,
    load: Annotated[int, typer.Option(help="Photos sent at once; 0 leaves that part out.", min=0)] = 0,
    photos: Annotated[
        Path | None, typer.Option(help="A folder of photos; the astronaut by default.", exists=True)
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, several times.")] = None,
) -> None:
    """S3 PUT to webhook through a local stack of its own: by stage, and at full load."""
    from bench.pipeline import bench_pipeline, load_photos
    from face3d.cli.demo import astronaut
    from face3d.cli.submit import read_options

    bench_pipeline(
        engine=engine,
        photos=load_photos(photos, astronaut()),
        sequential=sequential,
        load=load,
        options=read_options(option or []),
        say=lambda line: output.print(line + "\n", markup=False, soft_wrap=True),
    )
