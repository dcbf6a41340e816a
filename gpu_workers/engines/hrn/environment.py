"""The libraries of engine `hrn`: what must be installed, and what stands in for the rest while they load.

ModelScope's modules import nvdiffrast, PyTorch3D and TensorFlow. Their work is done by our rasteriser and by
onnxruntime (rendering.py, mask.py), so that these are only names here, lent for the time of an import.
"""

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType

import torch

from face3d.errors import EngineUnavailable
from gpu_workers.engines.hrn import rendering
from gpu_workers.engines.hrn.mask import stand_in_for_tensorflow

#: Distribution to the version whose source this engine was written against; None: any.
REQUIRED: dict[str, str | None] = {
    "modelscope": "1.40.0",
    "face-alignment": "1.4.1",
    "torchvision": None,
    "opencv-python-headless": None,
    "kornia": None,
    "albumentations": None,
    "numba": None,
    "scikit-image": None,
    "imageio": None,
    "einops": None,
    "onnxruntime": None,
}
INSTALL = "`make hrn` in a checkout makes it in .venv-hrn"

_lock = threading.RLock()


def find_missing() -> list[str]:
    """Return what the environment lacks, in words."""
    missing = []
    for name, wanted in REQUIRED.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.append(name if wanted is None else f"{name}=={wanted}")
            continue
        if wanted not in (None, found):
            missing.append(f"{name}=={wanted} (found {found})")
    return missing


def check_environment() -> None:
    """Raise unless the libraries are there.

    Raises:
        EngineUnavailable: with what is missing and how to get it.
    """
    missing = find_missing()
    if missing:
        raise EngineUnavailable(
            f"Engine hrn needs libraries of its own environment: {', '.join(missing)} missing here; "
            f"{INSTALL}. "
            "Or choose engine anny, which needs no downloads."
        )


@contextmanager
def borrowed_modules(*, rasterisers: bool = True) -> Iterator[None]:
    """Lend the names that ModelScope's modules import; one thread at a time.

    Args:
        rasterisers: False leaves nvdiffrast and PyTorch3D to those that are installed.
    """
    with _lock:
        _define_missing_operators()
        names = {"tensorflow": stand_in_for_tensorflow()}
        if rasterisers:
            names |= {**_pytorch3d_names(), **_nvdiffrast_names()}
        before = {name: sys.modules.get(name) for name in names}
        sys.modules.update(names)
        try:
            # Its classes print while they are built.
            with redirect_stdout(io.StringIO()):
                yield
        finally:
            for name, module in before.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module


def make_module(name: str, **contents: object) -> ModuleType:
    """Return a module of that name that holds just that."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(contents)
    return module


def _nvdiffrast_names() -> dict[str, ModuleType]:
    work = make_module(
        "nvdiffrast.torch",
        RasterizeCudaContext=rendering.RasterizeCudaContext,
        rasterize=rendering.rasterize,
        interpolate=rendering.interpolate,
        texture=rendering.texture,
    )
    return {
        "nvdiffrast": make_module("nvdiffrast", __version__="0.3.3", torch=work),
        "nvdiffrast.torch": work,
    }


def _pytorch3d_names() -> dict[str, ModuleType]:
    return {
        "pytorch3d": make_module("pytorch3d"),
        "pytorch3d.structures": make_module("pytorch3d.structures", Meshes=rendering.Meshes),
        # Imported by the pipeline, and never called.
        "pytorch3d.io": make_module("pytorch3d.io", load_obj=None),
        "pytorch3d.renderer": make_module("pytorch3d.renderer"),
        "pytorch3d.renderer.mesh": make_module(
            "pytorch3d.renderer.mesh", rasterize_meshes=rendering.rasterize_meshes
        ),
    }


def torchvision_loads() -> bool:
    """Tell, once modules have been lent, whether torchvision's operators are its own."""
    return not _kept


def _define_missing_operators() -> None:
    """Name torchvision's operators where they do not load, beside another build of torch: it imports then.

    ModelScope calls one of them, `nms`, and gets ours (loading.py).
    """
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return
    try:
        path = spec.origin.replace("__init__.py", "_C.so")
        torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    except OSError:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            signature = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(signature)  # type: ignore[no-untyped-call]
        _kept.append(library)


#: An operator lives as long as its library.
_kept: list[torch.library.Library] = []
