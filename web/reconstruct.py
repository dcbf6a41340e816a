"""`POST /v1/reconstruct`: one photo in, its map out, one request; no queue and no storage behind it.

A process of its own beside the job API: `python -m web.reconstruct`. The card's worker code does the work.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from face3d.errors import ErrorCode, RefusedError
from face3d.options import JobOptions
from face3d.settings import get_settings
from gpu_workers.launcher import library_threads
from web.problems import install_handlers

if TYPE_CHECKING:
    from web.one_shot import OneShot, OneShotReconstructor

Product = Literal["png", "jpeg", "glb"]
_MEDIA_TYPES: dict[Product, str] = {"png": "image/png", "jpeg": "image/jpeg", "glb": "model/gltf-binary"}


def create_reconstruct_app(one_shot: "OneShotReconstructor") -> FastAPI:
    """Return the app; every error is a `Problem`, as in the job API."""
    from gpu_workers.engines.base import PhotoLimits

    app = FastAPI(title="Face3D reconstruct", docs_url=None, redoc_url=None, openapi_url=None)
    install_handlers(app)
    limit = PhotoLimits().max_bytes

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"state": "ready"}

    @app.post("/v1/reconstruct")
    async def reconstruct(request: Request, product: Product = "png") -> Response:
        photo = bytearray()
        async for chunk in request.stream():
            photo += chunk
            if len(photo) > limit:
                raise RefusedError(
                    ErrorCode.IMAGE_TOO_LARGE,
                    "The photo's file is too large.",
                    value=f"more than {limit} bytes",
                    limit=f"{limit} bytes",
                )
        result: OneShot = await run_in_threadpool(one_shot.reconstruct, bytes(photo), JobOptions(), product)
        return Response(result.data, media_type=_MEDIA_TYPES[product])

    return app


def main() -> None:
    """Serve on loopback until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m web.reconstruct", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--model-dir", type=Path, default=None, help="FACE3D_MODEL_DIR by default")
    arguments = parser.parse_args()
    os.environ.update(library_threads(1 if arguments.device != "cpu" else len(os.sched_getaffinity(0))))
    # Only now: numeric libraries read the environment when they are loaded.
    from gpu_workers.engines.anny.engine import AnnyEngine
    from web.one_shot import OneShotReconstructor

    engine = AnnyEngine(arguments.model_dir or get_settings().model_dir, device=arguments.device)
    engine.warm_up()
    app = create_reconstruct_app(OneShotReconstructor(engine))
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
