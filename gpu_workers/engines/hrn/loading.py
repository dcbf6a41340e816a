"""The pipeline of a model directory, on one device, without foreign GPU libraries or the home folder."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from face3d.errors import EngineUnavailable
from gpu_workers.engines.hrn.environment import borrowed_modules, check_environment, torchvision_loads
from gpu_workers.engines.hrn.files import SQUARE_DETECTOR
from gpu_workers.engines.hrn.mask import open_mask
from gpu_workers.engines.hrn.model_check import check_model_folder
from gpu_workers.engines.hrn.rendering import suppress_overlaps

_PACKAGE = "modelscope.models.cv.face_reconstruction.models"
_PIPELINE = "modelscope.pipelines.cv.face_reconstruction_pipeline"


def load_pipeline(folder: Path, device: torch.device, *, unmodified: bool = False) -> Any:
    """Return ModelScope's FaceReconstructionPipeline with the weights of a folder.

    Its classes and methods are unmodified; drawing and face mask are ours.

    Args:
        unmodified: draw by nvdiffrast and PyTorch3D, which must be there, and let torchvision choose among
            overlapping boxes if it can. The benchmark compares with that; no engine works so.

    Raises:
        EngineUnavailable: a library or a file is missing, or a file is not what it should be.
    """
    check_environment()
    wrong = [finding for finding in check_model_folder(folder) if finding.wrong]
    if wrong:
        raise EngineUnavailable(
            f"Engine hrn: {len(wrong)} of its files are missing or different, the first: {wrong[0]}. "
            "`face3d models check hrn` names them all."
        )
    mask = open_mask(folder)
    # It warns of a missing preprocessor that it does not need, and names folders: not for a worker's log.
    logging.getLogger("modelscope").addFilter(_is_error)
    with borrowed_modules(rasterisers=not unmodified), on_device(device), _own_places(folder, device):
        from modelscope.pipelines.cv.face_reconstruction_pipeline import FaceReconstructionPipeline

        pipeline = FaceReconstructionPipeline(
            model=str(folder), device="gpu" if device.type == "cuda" else "cpu"
        )
        if not (unmodified and torchvision_loads()):
            from modelscope.models.cv.skin_retouching.retinaface import predict_single

            predict_single.nms = suppress_overlaps
    pipeline.face_sess = mask
    return pipeline


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Make a card the one that `cuda` means in this thread: the pipeline knows no other name for it."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@contextmanager
def _own_places(folder: Path, device: torch.device) -> Iterator[None]:
    """Keep the pipeline's models on the device asked for, its files where they are, and code out of them.

    Its own ways are a literal `cuda`, copies in the home folder that workers overwrite under each other, and
    running Python files of a model directory whose parent is called `damo` or `iic`.
    """
    import importlib

    from face_alignment import api
    from face_alignment.detection.sfd import sfd_detector

    pipeline = importlib.import_module(_PIPELINE)
    base_model = importlib.import_module("modelscope.models.base.base_model")
    retouching = importlib.import_module(f"{_PACKAGE}.de_retouching_module")

    class UNetHere(retouching.UNet):  # type: ignore[misc, name-defined]
        def to(self, *_: object, **__: object) -> Any:
            return super().to(device)

    def find_alignment(*args: Any, **kwargs: Any) -> Any:
        return api.FaceAlignment(*args, **{**kwargs, "device": device.type})

    def find_file(url: str) -> str:
        return str(folder / "face_alignment" / Path(url).name)

    def load_square_detector(_: str) -> Any:
        return torch.load(folder / SQUARE_DETECTOR, map_location="cpu", weights_only=True)

    aligner = SimpleNamespace(FaceAlignment=find_alignment, LandmarksType=api.LandmarksType)
    with ExitStack() as stack:
        for owner, name, value in (
            (retouching, "UNet", UNetHere),
            (base_model, "check_model_from_owner_group", lambda *_: False),
            (pipeline, "face_alignment", aligner),
            (pipeline, "shutil", SimpleNamespace(copy=lambda *_: None)),
            (api, "load_file_from_url", find_file),
            (sfd_detector, "load_url", load_square_detector),
        ):
            stack.enter_context(patch.object(owner, name, value))
        yield
