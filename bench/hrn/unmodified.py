"""ModelScope's pipeline on nvdiffrast and PyTorch3D themselves, in a process of its own.

Its modules are imported once a process, with one rasteriser or the other. Nothing of the two is installed or
asked for by Face3D: who has them measures them (docs/how-to/engines.md). TensorFlow is not asked here either:
the face mask is onnxruntime's, as in the engine.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from face3d.errors import EngineUnavailable
from face3d.settings import ROOT


class UnmodifiedPipeline:
    """The process, as its parent sees it.

    Args:
        folder: the pipeline's model directory.
        device: of CUDA: nvdiffrast draws on nothing else.
        steps: of the texture's fit.
    """

    def __init__(self, folder: Path, device: str, steps: int) -> None:
        self._exchange = tempfile.TemporaryDirectory(prefix="face3d-bench-")
        self._photo = Path(self._exchange.name) / "photo.npy"
        arguments = [str(folder.resolve()), device, str(steps), str(self._photo)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "UnmodifiedPipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._exchange.cleanup()

    def load(self) -> str:
        """Wait until it has loaded, and return the versions of the two libraries, in words.

        Raises:
            EngineUnavailable: why it has not.
        """
        return str(self._answer()["versions"])

    def time_call(self, photo: NDArray[np.uint8], *, frames: bool) -> dict[str, float]:
        """Return seconds of one call, as `hrn_ways.time_call` does.

        Raises:
            EngineUnavailable: it failed, as nvdiffrast does if it does not compile when first used.
        """
        np.save(self._photo, photo)
        question = json.dumps({"frames": frames})
        # Of a process that has ended, the answer tells.
        with suppress(BrokenPipeError):
            print(question, file=self._process.stdin, flush=True)
        return {"call": float(self._answer()["call"])}

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise EngineUnavailable(f"its process ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "why_not" in answer:
            raise EngineUnavailable(answer["why_not"])
        return answer


def _serve(folder: Path, device: torch.device, steps: int, photo: Path, answers: TextIO) -> None:
    """Load, say so, and answer a line of standard input at a time."""

    def answer(**facts: object) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    try:
        drawing, meshes = (import_module(name) for name in ("nvdiffrast", "pytorch3d"))
        from bench.hrn.ways import time_call
        from gpu_workers.engines.hrn.loading import load_pipeline
        from gpu_workers.engines.hrn.stages import FrontReconstruction

        front = FrontReconstruction(load_pipeline(folder, device, unmodified=True), device)
        front.model.tex_iters = steps
        answer(versions=f"nvdiffrast {drawing.__version__}, PyTorch3D {meshes.__version__}")
        for line in sys.stdin:
            answer(**time_call(front, np.load(photo), frames=json.loads(line)["frames"]))
    except Exception as error:  # Whatever it is, the parent shall print it.
        answer(why_not=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")


def _main() -> None:
    folder, device, steps, photo = sys.argv[1:]
    # Its classes print: answers alone go to standard output.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _serve(Path(folder), torch.device(device), int(steps), Path(photo), answers)


if __name__ == "__main__":
    _main()
