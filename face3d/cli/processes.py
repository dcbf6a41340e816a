"""`face3d worker`, `face3d relay`: processes of an installation that has its own servers."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(epilog="Example:  face3d worker --device 0 --stages geometry,texture")(worker)
    app.command(epilog="Example:  face3d relay")(relay)


def worker(
    device: Annotated[str, typer.Option(help="cpu, or the index of an NVIDIA GPU.")] = "cpu",
    stages: Annotated[
        str | None, typer.Option(help="Comma-separated; all that the GPU type serves by default.")
    ] = None,
    gpu_type: Annotated[
        str | None, typer.Option(help="Bind to this type's queues; detected by default.")
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Tasks at once; by type by default.", min=1)] = None,
) -> None:
    """Run the stages of one device until SIGTERM, then finish what runs."""
    from gpu_workers.launcher import main

    arguments = ["--device", device]
    for name, value in (("--stages", stages), ("--gpu-type", gpu_type), ("--slots", slots)):
        if value is not None:
            arguments += [name, str(value)]
    raise typer.Exit(main(arguments))


def relay() -> None:
    """Publish what the database decided, and mend what got lost; any number may run."""
    from tasks.relay import main

    raise typer.Exit(main())
