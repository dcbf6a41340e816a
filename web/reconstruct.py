"""`POST /v1/reconstruct`: one photo in, its map out, one request; no queue and no storage behind it.

A process of its own beside the job API: `python -m web.reconstruct`. The card's worker code does the work:
this process, unlike the job API's, needs extra `worker` too.
"""

import argparse
import os
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.types import ASGIApp

from face3d.errors import ErrorCode, Face3DError
from face3d.extras import ExtraMissing, require_extra
from face3d.options import JobOptions
from face3d.settings import get_settings
from gpu_workers.launcher import library_environment
from gpu_workers.serving.png_stream import cut_writes, iterate_thread, take_first
from web.middleware.gate import Gate, GuardedApp
from web.middleware.hosts import LOOPBACK, HostMiddleware
from web.middleware.lanes import Lanes
from web.middleware.limits import Limits, make_rule
from web.middleware.security import SecurityMiddleware
from web.problems import install_handlers
from web.server import serve

if TYPE_CHECKING:
    from assets.png import Piece
    from gpu_workers.serving.in_process import OneShotReconstructor

log = structlog.get_logger(__name__)

Product = Literal["png", "jpeg", "glb"]
#: Largest photos whose bytes may be in memory at once.
PHOTOS_HELD = 16

_MEDIA_TYPES: dict[Product, str] = {"png": "image/png", "jpeg": "image/jpeg", "glb": "model/gltf-binary"}


def create_reconstruct_app(
    one_shot: "OneShotReconstructor", limit: int, hosts: Collection[str] = LOOPBACK
) -> FastAPI:
    """Return the app; every error is a `Problem`, as in the job API.

    Args:
        one_shot: does the work.
        limit: largest photo file, bytes.
        hosts: names under which it may be called.
    """
    photo_limits = Limits(body=limit, too_large=ErrorCode.IMAGE_TOO_LARGE, streamed=True)
    rules = [make_rule("POST /v1/reconstruct", photo_limits)]

    def guard(app: ASGIApp) -> ASGIApp:
        gate = Gate(app, rules, Lanes(), held_bytes=PHOTOS_HELD * limit)
        return SecurityMiddleware(HostMiddleware(gate, hosts), access_log=False)

    app = GuardedApp(guard, title="Face3D reconstruct", docs_url=None, redoc_url=None, openapi_url=None)
    install_handlers(app)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"state": "ready"}

    @app.post("/v1/reconstruct")
    async def reconstruct(request: Request, product: Product = "png") -> StreamingResponse:
        photo = await request.body()
        pieces = iterate_thread(one_shot.stream(photo, JobOptions(), product))
        # Until here an error has an answer of its own.
        first = await take_first(pieces, request)
        # Only a PNG is sent before its length is known.
        headers = {} if product == "png" else {"Content-Length": str(sum(map(len, first)))}
        return StreamingResponse(_send(first, pieces), headers=headers, media_type=_MEDIA_TYPES[product])

    return app


async def _send(first: "Piece", others: "AsyncGenerator[Piece]") -> AsyncIterator[bytes | memoryview]:
    """Yield an answer's bytes; where it cannot be ended, the connection ends without the last chunk."""
    async with aclosing(others):
        try:
            for write in cut_writes(first):
                yield write
            async for piece in others:
                for write in cut_writes(piece):
                    yield write
        except Exception as error:
            log.error("answer cut short", code=ErrorCode.INTERNAL_ERROR, error=type(error).__name__)
            raise


def main() -> None:
    """Serve on loopback until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m web.reconstruct", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--model-dir", type=Path, default=None, help="FACE3D_MODEL_DIR by default")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="a proxy's Host, beside loopback's"
    )
    arguments = parser.parse_args()
    try:
        require_extra("worker")
    except ExtraMissing as error:
        parser.exit(1, f"error {ErrorCode.ENGINE_UNAVAILABLE}: {error.message}\n")
    os.environ.update(library_environment(1 if arguments.device != "cpu" else len(os.sched_getaffinity(0))))
    # Only now: numeric libraries read the environment when they are loaded.
    from gpu_workers.decoding.client import check_sandbox
    from gpu_workers.engines.anny.engine import AnnyEngine
    from gpu_workers.photo_limits import PhotoLimits
    from gpu_workers.process_settings import prepare_process
    from gpu_workers.serving.in_process import OneShotReconstructor

    settings = get_settings()
    limits = PhotoLimits.from_settings(settings)
    try:
        check_sandbox(limits)
        engine = AnnyEngine(arguments.model_dir or settings.model_dir, device=arguments.device)
        engine.warm_up()
        prepare_process(arguments.device)
    except (Face3DError, RuntimeError, AssertionError) as error:
        # torch says so when the device is not there, or is no device.
        parser.exit(1, f"error The engine cannot run on {arguments.device}: {error}\n")
    one_shot = OneShotReconstructor(engine, limits=limits)
    hosts = {*LOOPBACK, *arguments.allow_host}
    app = create_reconstruct_app(one_shot, settings.max_bytes, hosts)
    serve(app, host="127.0.0.1", port=arguments.port, log_level="warning", timeout_graceful_shutdown=None)


if __name__ == "__main__":
    main()
