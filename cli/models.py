"""`face3d models`: fetch, check and convert the model files that an operator brings to engine hrn."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import errors, output
from face3d.errors import ConfigurationError

_LICENCE = """\
Engine hrn's model directory holds parts of the Basel Face Model 2009, which is for academic, non-commercial
research under an agreement of your own with the University of Basel, and may not be passed on. The weights
come without a licence of their own. Face3D ships none of it; every asset's manifest names these terms.
Engine anny has no such terms.
"""

_Engine = Annotated[str, typer.Argument(metavar="ENGINE", help="hrn: the only engine with files of yours.")]
_Folder = Annotated[
    Path | None, typer.Option("--dir", help="The model directory; FACE3D_HRN_MODEL_DIR when omitted.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(no_args_is_help=True, help="The model files that you bring to engine hrn.")
    group.command(epilog="Example:  face3d models fetch hrn --accept-licence")(fetch)
    group.command(epilog="Example:  face3d models check hrn")(check)
    group.command(epilog="Example:  face3d models convert hrn")(convert)
    app.add_typer(group, name="models")


def fetch(
    engine: _Engine,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You hold the licences that this command names.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Take the files from this directory, and ask no hub.")
    ] = None,
    folder: _Folder = None,
) -> None:
    """Download the model at its pinned revision, or copy a directory that you have; then check it."""
    target = _target(engine, folder)
    errors.print(_LICENCE, markup=False)
    if not accept_licence:
        raise ConfigurationError("Nothing was fetched. Add --accept-licence if you hold these licences.")
    from gpu_workers.engines.hrn.environment import check_environment
    from gpu_workers.engines.hrn.fetching import copy_model, download_model

    check_environment()
    if source is None:
        download_model(target)
    else:
        copy_model(source, target)
    _report(target)


def check(engine: _Engine, folder: _Folder = None) -> None:
    """Compare arrays, weights and shapes with what the engine expects; exit code 1 when a file is wrong."""
    _report(_target(engine, folder))


def convert(engine: _Engine, folder: _Folder = None) -> None:
    """Turn the face mask's TensorFlow graph into ONNX and compare both; only this needs TensorFlow."""
    from gpu_workers.engines.hrn.conversion import convert_mask

    target = _target(engine, folder)
    difference = convert_mask(target)
    output.print(f"{target}: mask converted; largest difference {difference:.4f} of 255", markup=False)


def _target(engine: str, folder: Path | None) -> Path:
    from face3d.settings import get_settings
    from gpu_workers.engines.hrn.files import find_model_folder

    if engine != "hrn":
        raise ConfigurationError(f"Engine {engine} has no files of yours: only hrn has.")
    return folder or find_model_folder(get_settings())


def _report(folder: Path) -> None:
    from gpu_workers.engines.hrn.environment import check_environment
    from gpu_workers.engines.hrn.model_check import check_model_folder

    check_environment()
    findings = check_model_folder(folder)
    for finding in findings:
        mark = "[bold red]wrong[/]" if finding.wrong else "[yellow]note[/] "
        output.print(mark, end=" ")
        output.print(str(finding), markup=False, soft_wrap=True)
        output.print(f"      -> {finding.remedy}", markup=False, soft_wrap=True)
    wrong = sum(finding.wrong for finding in findings)
    output.print(f"{folder}: {wrong} wrong, {len(findings) - wrong} to know", markup=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)
