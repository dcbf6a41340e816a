"""`face3d worker`, `face3d relay`: processes of an installation that has its own servers."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(
        epilog="Examples:  face3d worker --all-devices   |   face3d worker --device 0 --stages texture"
    )(worker)
    app.command(epilog="Example:  face3d relay")(relay)


def worker(
    device: Annotated[str, typer.Option(help="cpu, or the index of an NVIDIA GPU.")] = "cpu",
    all_devices: Annotated[
        bool, typer.Option("--all-devices", help="One worker for each NVIDIA GPU.")
    ] = False,
    stages: Annotated[
        str | None, typer.Option(help="Comma-separated; all that the GPU type serves by default.")
    ] = None,
    gpu_type: Annotated[
        str | None, typer.Option(help="Bind to this type's queues; detected by default.")
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Tasks at once; by type by default.", min=1)] = None,
) -> None:
    """Run the stages of one device, or of all, until SIGTERM, then finish what runs."""
    from gpu_workers.launcher import main

    if all_devices and device != "cpu":
        raise typer.BadParameter("name one device, or all: not both")
    arguments = ["--all-devices"] if all_devices else ["--device", device]
    for name, value in (("--stages", stages), ("--gpu-type", gpu_type), ("--slots", slots)):
        if value is not None:
            arguments += [name, str(value)]
    raise typer.Exit(main(arguments))


def relay() -> None:
    """Publish what the database decided, and mend what got lost; any number may run."""
    from tasks.relay import main

    raise typer.Exit(main())
