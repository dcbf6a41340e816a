"""The `face3d` command: one typer app; each module adds its own commands in `register(app)`.

Modules import the rooms inside their commands, so that `face3d --help` stays quick.
"""

import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from cli.console import print_error

#: In the order of the help page. Each has `register(app: typer.Typer) -> None`.
COMMAND_MODULES: tuple[str, ...] = (
    "stack",
    "demo",
    "submit",
    "jobs",
    "explain",
    "webhook",
    "events",
    "processes",
    "bench",
    "plan",
    "doctor",
    "models",
)

app = typer.Typer(
    name="face3d",
    help="One frontal photo dropped into a bucket becomes a 3D head that an artist keeps.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"face3d {version('face3d')}")
        raise typer.Exit


@app.callback()
def prepare(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One frontal photo dropped into a bucket becomes a 3D head that an artist keeps."""
    use_local_stack()


def use_local_stack() -> None:
    """Point the settings at the local stack's file where one exists and the caller names no other servers."""
    from face3d.settings import Settings

    if {"FACE3D_ENV_FILE", "FACE3D_DATABASE_URL"} & set(os.environ):
        return
    env_file = Settings().state_dir / "stack.env"
    if env_file.exists():
        os.environ["FACE3D_ENV_FILE"] = str(env_file)


for _module in COMMAND_MODULES:
    import_module(f"cli.{_module}").register(app)


def main() -> None:
    """Entry point; an error of ours is one sentence on standard error and exit code 1."""
    from pydantic import ValidationError

    from face3d.errors import Face3DError

    try:
        app()
    except ValidationError as error:
        # A setting of the environment, or an option of a job.
        for one in error.errors():
            print_error(f"{'.'.join(map(str, one['loc'])) or error.title}: {one['msg']}")
        sys.exit(1)
    except Face3DError as error:
        print_error(error.message)
        sys.exit(1)
