"""The face mask's frozen TensorFlow graph becomes ONNX, once; afterwards nobody needs TensorFlow."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from face3d.errors import ConfigurationError
from gpu_workers.engines.hrn.files import MASK_GRAPH, MASK_NETWORK
from gpu_workers.engines.hrn.mask import MASK, PICTURE, MaskNetwork, TensorFlowMask

#: Of 255; a mask that differs more anywhere is another mask.
TOLERANCE = 0.5
_SIDE = 224
_PICTURES = 4
_OPSET = "17"


def convert_mask(folder: Path) -> float:
    """Write `segment_face.onnx` beside the graph, and return the largest difference between both, of 255.

    Raises:
        ConfigurationError: a library or the graph is missing, or the two differ; nothing is left then.
    """
    missing = [name for name in ("tensorflow", "tf2onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"Converting needs {', '.join(missing)}, and only converting does: in an environment of its own, "
            "pip install --editable '.[hrn-convert]' in the checkout."
        )
    graph, target = folder / MASK_GRAPH, folder / MASK_NETWORK
    if not graph.is_file():
        raise ConfigurationError(
            f"{graph} is missing: face3d models fetch hrn, or name its directory by --dir."
        )
    partial = target.with_suffix(".partial.onnx")
    command = [sys.executable, "-m", "tf2onnx.convert", "--graphdef", str(graph), "--output", str(partial)]
    command += ["--inputs", PICTURE, "--outputs", MASK, "--opset", _OPSET]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        partial.unlink(missing_ok=True)
        raise ConfigurationError(f"tf2onnx could not convert {graph}: {result.stderr.strip()[-500:]}")
    difference = _largest_difference(TensorFlowMask(graph), MaskNetwork(partial))
    if difference > TOLERANCE:
        partial.unlink()
        raise ConfigurationError(
            f"The converted mask differs from the graph by {difference:.2f} of 255, {TOLERANCE} allowed."
        )
    partial.replace(target)
    return difference


def _largest_difference(first: TensorFlowMask, second: MaskNetwork) -> float:
    random = np.random.default_rng(3)
    pictures = random.integers(0, 256, (_PICTURES, _SIDE, _SIDE, 3), dtype=np.uint8)
    return max(float(np.abs(first.find(picture) - second.find(picture)).max()) for picture in pictures)
