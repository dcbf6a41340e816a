"""`face3d bench`: measure, and print tables that say how."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli import bench_quality
from cli.bench_quality import Device, Options, say

#: Different photos that a soak sends in turn.
_SOAK_PHOTOS = 100


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(help="Measure, and print tables that say how.", no_args_is_help=True)
    group.command(epilog="Example:  face3d bench pipeline --engine null --load 400")(pipeline)
    group.command(epilog="Example:  face3d bench single --device cuda -n 200 --csv single.csv")(single)
    group.command(epilog="Example:  face3d bench http --device cuda -n 200")(http)
    group.command(epilog="Example:  face3d bench throughput --device cuda --shape 4x3")(throughput)
    group.command(epilog="Example:  face3d bench event --device cuda --option formats=glb")(event)
    group.command(epilog="Example:  face3d bench soak --device cuda --rate 1 --seconds 300")(soak)
    group.command(epilog="Example:  face3d bench scale --cards 1,2,4")(scale)
    group.command(epilog="Example:  face3d bench switches --device cuda")(switches)
    group.command(epilog="Example:  face3d bench hrn --device cuda -n 5 --rounds 3")(hrn)
    bench_quality.register(group)
    group.callback()(_group)
    app.add_typer(group, name="bench")


def _group() -> None:
    """Measure, and print tables that say how."""


Count = Annotated[int, typer.Option("-n", help="Photos.", min=4)]
Rounds = Annotated[int, typer.Option(help="Rounds, each with its share of the photos.", min=1)]
Photos = Annotated[
    Path | None, typer.Option(help="A folder of photos; the astronaut by default.", exists=True)
]
Csv = Annotated[Path | None, typer.Option(help="Write one row a request to this file.")]
Engine = Annotated[str, typer.Option(help="anny, null, or hrn in its own environment.")]


def pipeline(
    engine: Engine = "anny",
    device: Device = "cpu",
    sequential: Annotated[int, typer.Option("-n", help="Photos sent one after another.", min=1)] = 20,
    load: Annotated[int, typer.Option(help="Photos sent at once; 0 leaves that part out.", min=0)] = 0,
    photos: Photos = None,
    option: Options = None,
    broker: Annotated[
        str | None, typer.Option(help="URL of a broker that runs already; a Valkey of its own by default.")
    ] = None,
) -> None:
    """S3 PUT to webhook through a local stack of its own: by stage, and at full load."""
    from bench.photos import load_files
    from bench.pipeline.run import bench_pipeline
    from cli.demo import astronaut
    from cli.submit import read_options

    bench_pipeline(
        engine=engine,
        device=device,
        photos=load_files(photos, astronaut()),
        sequential=sequential,
        load=load,
        options=read_options(option or []),
        broker=broker,
        say=say,
    )


def event(
    engine: Engine = "anny",
    device: Device = "cpu",
    count: Count = 200,
    rounds: Rounds = 5,
    photos: Photos = None,
    option: Options = None,
    csv: Csv = None,
) -> None:
    """S3 PUT to webhook through a local stack of its own, one photo at a time, in rounds."""
    from bench.pipeline.run import bench_event
    from cli.submit import read_options

    bench_event(
        engine=engine,
        device=device,
        photos=_make_photos(photos, count),
        rounds=rounds,
        options=read_options(option or []),
        csv=csv,
        say=say,
    )


def hrn(
    device: Device = "cpu",
    count: Annotated[int, typer.Option("-n", help="Photos.", min=1)] = 5,
    rounds: Rounds = 3,
    seconds: Annotated[float, typer.Option(help="For the calls, shared by the ways.", min=0)] = 90.0,
    texture_size: Annotated[int, typer.Option(help="Texels a side of the engines' maps.")] = 4096,
    photos: Photos = None,
    csv: Csv = None,
) -> None:
    """ModelScope's pipeline, its networks and fit alone, and engines hrn and anny; in .venv-hrn."""
    from gpu_workers.engines.hrn.environment import check_environment

    check_environment()
    from bench.hrn.comparison import bench_hrn
    from face3d.settings import get_settings

    bench_hrn(
        settings=get_settings(),
        device=device,
        photos=_make_photos(photos, count),
        rounds=rounds,
        seconds=seconds,
        texture_size=texture_size,
        csv=csv,
        say=say,
    )


def single(
    device: Device = "cpu",
    count: Count = 200,
    rounds: Rounds = 5,
    photos: Photos = None,
    csv: Csv = None,
    compared: Annotated[int, typer.Option(help="Photos also made by the plain path.", min=0)] = 4,
) -> None:
    """One photo at a time in this process: to the first UV pixel, to PNG, JPEG and GLB bytes."""
    _keep_libraries_single_threaded()
    from bench.gpu.single import SingleRun, bench_single
    from face3d.options import JobOptions
    from face3d.settings import get_settings

    run = SingleRun(
        model_dir=get_settings().model_dir,
        device=device,
        rounds=rounds,
        options=JobOptions(),
        compared=compared,
        csv=csv,
    )
    bench_single(run, _make_photos(photos, count), say)


def http(
    device: Device = "cpu", count: Count = 200, rounds: Rounds = 5, photos: Photos = None, csv: Csv = None
) -> None:
    """The same over HTTP, one request at a time: photo in, map out; it passes no queue."""
    _keep_libraries_single_threaded()
    from bench.gpu.http import bench_http
    from face3d.settings import get_settings

    bench_http(
        model_dir=get_settings().model_dir,
        device=device,
        photos=_make_photos(photos, count),
        rounds=rounds,
        csv=csv,
        say=say,
    )


def throughput(
    device: Device = "cpu",
    count: Count = 200,
    rounds: Rounds = 5,
    photos: Photos = None,
    csv: Csv = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="PROCESSESxPHOTOS-IN-FLIGHT, several times.")
    ] = None,
) -> None:
    """Photos a second offline, to 4096 px PNG bytes."""
    _keep_libraries_single_threaded()
    from bench.gpu.throughput import bench_throughput
    from face3d.settings import get_settings

    bench_throughput(
        model_dir=get_settings().model_dir,
        device=device,
        photos=_make_photos(photos, count),
        shapes=[_read_shape(text) for text in shape or ["1x2"]],
        rounds=rounds,
        csv=csv,
        say=say,
    )


def scale(
    cards: Annotated[str, typer.Option(help="Numbers of cards, the first one is compared with.")] = "1,2,4",
    count: Count = 200,
    rounds: Rounds = 5,
    photos: Photos = None,
    csv: Csv = None,
    shape: Annotated[str, typer.Option(help="PROCESSESxPHOTOS-IN-FLIGHT of each card.")] = "4x3",
) -> None:
    """Photos a second and latency of one, two, four cards of this host: replicated and sharded."""
    _keep_libraries_single_threaded()
    from bench.gpu.scale import bench_scale
    from face3d.settings import get_settings

    bench_scale(
        model_dir=get_settings().model_dir,
        photos=_make_photos(photos, count),
        counts=[int(number) for number in cards.split(",")],
        shape=_read_shape(shape),
        rounds=rounds,
        csv=csv,
        say=say,
    )


def soak(
    device: Device = "cpu",
    way: Annotated[str, typer.Option(help="http or event.")] = "http",
    rate: Annotated[float, typer.Option(help="Photos a second.", min=0.01)] = 1.0,
    seconds: Annotated[float, typer.Option(help="How long.", min=1)] = 300.0,
    arrivals: Annotated[str, typer.Option(help="steady or poisson.")] = "steady",
    photos: Photos = None,
    csv: Csv = None,
) -> None:
    """An open loop: photos come at their moments whatever became of those before."""
    _keep_libraries_single_threaded()
    from bench.pipeline.soak import bench_soak
    from face3d.settings import get_settings

    if way not in ("http", "event") or arrivals not in ("steady", "poisson"):
        raise typer.BadParameter("--way is http or event, --arrivals is steady or poisson")
    bench_soak(
        model_dir=get_settings().model_dir,
        device=device,
        photos=_make_photos(photos, _SOAK_PHOTOS),
        way="http" if way == "http" else "event",
        rate=rate,
        seconds=seconds,
        arrivals="steady" if arrivals == "steady" else "poisson",
        csv=csv,
        say=say,
    )


def switches(device: Device = "cpu", count: Count = 40, rounds: Rounds = 5, photos: Photos = None) -> None:
    """What sharpening, input size, texture size and CUDA graphs each cost or gain."""
    _keep_libraries_single_threaded()
    from bench.gpu.switches import bench_switches
    from face3d.settings import get_settings

    bench_switches(
        model_dir=get_settings().model_dir,
        device=device,
        photos=_make_photos(photos, count),
        rounds=rounds,
        say=say,
    )


def _keep_libraries_single_threaded() -> None:
    """Before numpy is loaded: as a GPU's worker does."""
    from gpu_workers.launcher import library_environment

    os.environ.update(library_environment(1))


def _make_photos(folder: Path | None, count: int) -> list[bytes]:
    from bench.photos import load_sources, make_photos
    from cli.demo import astronaut

    return make_photos(load_sources(folder, astronaut()), count)


def _read_shape(text: str) -> tuple[int, int]:
    processes, _, threads = text.partition("x")
    if not (processes.isdigit() and threads.isdigit() and int(processes) and int(threads)):
        raise typer.BadParameter(f"{text}: not like 4x3")
    return int(processes), int(threads)
